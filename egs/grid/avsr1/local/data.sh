# Stage 0 of GRID: the corpus, downloaded if need be; data directories; the foundation models.
# shellcheck shell=bash disable=SC2154  # settings come from run.sh

if [ -z "$grid" ]; then
  grid=downloads/grid
  python "$MOME_ROOT/tools/fetch_grid.py" "$grid" ${grid_url:+--url "$grid_url"}
fi
case $split in unseen) corpus=grid ;; *) corpus=grid_overlapped ;; esac
. "$recipe_dir/utils/prepare_data.sh" "$corpus" "$grid" ${hours:+--hours "$hours"}

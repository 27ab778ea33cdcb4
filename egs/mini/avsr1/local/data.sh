# Stage 0 of the mini corpus: make it, make data directories of it, get the foundation models.
# shellcheck shell=bash disable=SC2154,SC2086  # settings come from avsr.sh; options are lists

python -m mome.bin.synthesise "downloads/${size}_$layout" --layout "$layout" --num_jobs "$nj" \
  $corpus_options
python -m mome.bin.prepare_data mini "downloads/${size}_$layout" data --num_jobs "$nj"
if [ "$(setting model.llm)" = downloads/baby-llm ]; then
  python -m mome.bin.make_baby data/train/text downloads
else
  python "$MOME_ROOT/tools/fetch_models.py" --out downloads
fi

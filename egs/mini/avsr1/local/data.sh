# Stage 0 of the mini corpus: synthesise it, make data directories of it, get the foundation models.
# shellcheck shell=bash disable=SC2154  # settings come from avsr.sh

fetching=
if [ "$(setting model.llm)" != downloads/baby-llm ]; then
  # Beside the synthesis: it waits for the network, and converts what it gets on one core.
  python "$MOME_ROOT/tools/fetch_models.py" --out downloads &
  fetching=$!
  trap 'kill "$fetching" 2> /dev/null || true' EXIT
fi
python -m mome.bin.synthesise "downloads/${size}_$layout" --layout "$layout" \
  --num_jobs "$(all_jobs)" "${corpus_options[@]}"
python -m mome.bin.prepare_data mini "downloads/${size}_$layout" data --num_jobs "$(all_jobs)" \
  "${skip_options[@]}"
if [ -n "$fetching" ]; then
  wait "$fetching"
else
  python -m mome.bin.make_baby data/train/text downloads
fi

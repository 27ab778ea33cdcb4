# Stage 0 of the mini corpus: make it, make data directories of it, fetch the foundation models.
# shellcheck shell=bash disable=SC2154

corpus=downloads/mini_$layout
[ "$tag" != train_nano ] || corpus=downloads/nano_$layout
# shellcheck disable=SC2046  # options, one a word
python -m mome.bin.synthesise "$corpus" --layout "$layout" --num_jobs "$nj" \
  $(grep -v '^#' "$recipe_dir/conf/corpus_${corpus_size:-mini}.txt")
python -m mome.bin.prepare_data mini "$corpus" data --num_jobs "$nj"
python "$MOME_ROOT/tools/fetch_models.py" --out downloads

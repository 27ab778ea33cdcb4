# Stage 0 of a recipe with a real corpus: data directories, and the foundation models, converted once
# and checked. Source it with the name of the corpus, its folder, and more options of
# mome.bin.prepare_data.
# shellcheck shell=bash disable=SC2154  # settings come from run.sh and avsr.sh

options=(--media_paths absolute --num_jobs "$(all_jobs)" "${skip_options[@]}")
[ "${allow_missing:-false}" = false ] || options+=(--allow_missing)
python -m mome.bin.prepare_data "$1" "$2" data "${@:3}" "${options[@]}"
if [ "$(setting model.llm)" = downloads/baby-llm ]; then
  python -m mome.bin.make_baby data/train/text downloads
elif [ -n "$avhubert" ] && [ ! -f "$(setting encoders.video)/model.safetensors" ]; then
  python "$MOME_ROOT/tools/convert_avhubert.py" "$avhubert" "$(setting encoders.video)"
fi
python -m mome.bin.check_models --config "$train_config" "${train_overrides[@]}"

# Stage 0 of a recipe with a real corpus: data directories, and the foundation models, fetched or
# converted once, and checked. Source it with the name of the corpus, its folder, and more options of
# mome.bin.prepare_data.
# shellcheck shell=bash disable=SC2154  # settings come from run.sh and avsr.sh

options=(--media_paths absolute --num_jobs "$(all_jobs)" "${skip_options[@]}")
[ "${allow_missing:-false}" = false ] || options+=(--allow_missing)
python -m mome.bin.prepare_data "$1" "$2" data "${@:3}" "${options[@]}"
if [ "$(setting model.llm)" = downloads/baby-llm ]; then
  python -m mome.bin.make_baby data/train/text downloads
else
  if [ "$(setting model.llm)" = downloads/SmolLM2-135M-Instruct ]; then
    python "$MOME_ROOT/tools/fetch_models.py" --out downloads --only llm
  fi
  if [ "$(setting encoders.audio)" = downloads/whisper-tiny.en ]; then
    python "$MOME_ROOT/tools/fetch_models.py" --out downloads --only whisper
  fi
  if [ -n "$avhubert" ] && [ ! -f "$(setting encoders.video)/model.safetensors" ]; then
    python "$MOME_ROOT/tools/convert_avhubert.py" "$avhubert" "$(setting encoders.video)"
  fi
fi
python -m mome.bin.check_models --config "$train_config" "${train_overrides[@]}"

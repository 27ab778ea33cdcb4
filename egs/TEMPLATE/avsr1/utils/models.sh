# The foundation models of a recipe with a real corpus: convert AV-HuBERT once, check them all.
# shellcheck shell=bash disable=SC2154,SC2086  # settings come from run.sh; train_args is a list

if [ "$(setting model.llm)" = downloads/baby-llm ]; then
  python -m mome.bin.make_baby data/train/text downloads
elif [ -n "$avhubert" ] && [ ! -f "$(setting encoders.video)/model.safetensors" ]; then
  python "$MOME_ROOT/tools/convert_avhubert.py" "$avhubert" "$(setting encoders.video)"
fi
python -m mome.bin.check_models --config "$train_config" $train_args

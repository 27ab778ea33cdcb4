# Stage 2 of the mini corpus: no pretrained video encoder fits drawn faces, so a small AV-HuBERT is
# trained on the phone of each frame, which the synthesis knows.
# shellcheck shell=bash disable=SC2154  # settings come from avsr.sh

# The weights depend on the number of processes: two on every machine, unless --nj is given.
with_mimalloc python -m mome.bin.pretrain_video data/train dump/mouths/train \
  data/valid dump/mouths/valid "$video_encoder" --num_jobs "${nj/auto/2}" "${video_options[@]}"

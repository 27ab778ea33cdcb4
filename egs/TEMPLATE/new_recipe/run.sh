#!/usr/bin/env bash
# MoME on @NAME@: Whisper-tiny, AV-HuBERT Large and SmolLM2-135M, all frozen.
#
#   ./run.sh --avhubert large_vox_iter5.pt
#
# What is needed, and what to change for other models: README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

. utils/settings.sh
train_config=conf/train_mome_layer.yaml
root=@ROOT@ # folder of the corpus: media and transcripts
avhubert= # checkpoint of AV-HuBERT, a .pt file; converted once

. utils/parse_options.sh
need root -d "the folder of the corpus, with media and transcripts"
[ -z "$avhubert" ] || need avhubert -f "a checkpoint of AV-HuBERT"
. ./avsr.sh

#!/usr/bin/env bash
# MoME on LRS3 (TED talks): Whisper, AV-HuBERT Large and Llama, all frozen.
#
#   ./run.sh --lrs3 /data/lrs3 --avhubert large_vox_iter5.pt --ngpu 8
#
# Needs the corpus, GPUs, a login to the hub for Llama, and a checkpoint of AV-HuBERT: README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

. utils/settings.sh
train_config=conf/train_mome_layer.yaml
lrs3=               # folder of LRS3, in which pretrain/, trainval/ and test/ lie
hours=433           # of training: 433 (pretrain and trainval) or 30 (trainval)
allow_missing=false # go on when the corpus is incomplete
avhubert=           # checkpoint of AV-HuBERT, a .pt file; converted once
# shellcheck disable=SC2034  # used by avsr.sh
test_snrs="12.5 10 7.5 5 2.5 0 -2.5 -5 -7.5"

. utils/parse_options.sh
allow hours '433|30' "433 (pretrain and trainval) or 30 (trainval)"
allow allow_missing 'true|false' "true or false"
need lrs3 -d "the folder of LRS3, in which pretrain/, trainval/ and test/ lie"
[ -z "$avhubert" ] || need avhubert -f "a checkpoint of AV-HuBERT"
. ./avsr.sh

#!/usr/bin/env bash
# MoME on LRS2 (BBC broadcasts): Whisper, AV-HuBERT Large and Llama, all frozen.
#
#   ./run.sh --lrs2 /data/lrs2 --avhubert large_vox_iter5.pt --ngpu 8
#
# Needs the corpus, GPUs, a login to the hub for Llama, and a checkpoint of AV-HuBERT: README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

. utils/settings.sh
train_config=conf/train_mome_layer.yaml
lrs2=               # folder of LRS2, in which mvlrs_v1/ and the lists lie
allow_missing=false # go on when the corpus is incomplete
avhubert=           # checkpoint of AV-HuBERT, a .pt file; converted once
# shellcheck disable=SC2034  # used by avsr.sh
test_snrs="7.5 5 2.5 0 -5"

. utils/parse_options.sh
allow allow_missing 'true|false' "true or false"
need lrs2 -d "the folder of LRS2, in which mvlrs_v1/ and the lists lie"
[ -z "$avhubert" ] || need avhubert -f "a checkpoint of AV-HuBERT"
. ./avsr.sh

#!/usr/bin/env bash
# MoME on GRID (33 filmed speakers, sentences of six words): Whisper-tiny, AV-HuBERT Large, SmolLM2-135M.
#
#   ./run.sh --avhubert large_vox_iter5.pt                     # stage 0 downloads the corpus, 16 GB
#   ./run.sh --avhubert large_vox_iter5.pt --grid /data/grid   # it is there already
#
# One small GPU, or with --hours 5 a CPU over night: README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

. utils/settings.sh
train_config=conf/train_mome_layer.yaml
grid=                 # folder of GRID, in which s1/ to s34/ lie; default: downloads/grid, downloaded
grid_url=             # where the archives of GRID are, if not at Zenodo
split=unseen          # sets: unseen speakers in test, or overlapped speakers
hours=                # of training: 5; default: all, 22 (unseen) or 19 (overlapped)
allow_missing=false   # go on when speakers are missing
avhubert=             # checkpoint of AV-HuBERT, a .pt file; converted once
# shellcheck disable=SC2034  # used by avsr.sh
max_skipped_test=0.01 # some clips of GRID are damaged

. utils/parse_options.sh
allow split 'unseen|overlapped' "unseen or overlapped"
allow hours '|5|22|19' "5, or 22 (unseen) or 19 (overlapped) for all clips"
allow allow_missing 'true|false' "true or false"
[ -z "$grid" ] || need grid -d "the folder of GRID, in which s1/ to s34/ lie"
[ -z "$avhubert" ] || need avhubert -f "a checkpoint of AV-HuBERT"
. ./avsr.sh

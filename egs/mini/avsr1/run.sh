#!/usr/bin/env bash
# MoME on the mini corpus: talking heads made on the spot, a real frozen LLM, all of it on a CPU.
#
# Two cores need 20 to 30 minutes, from nothing to a table of word error rates.
# --train_config conf/train_nano.yaml runs every stage at its smallest size, in minutes, with baby
# models: it shows that the recipe runs; its error rates mean nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

. utils/settings.sh
train_config=conf/train_mome_layer.yaml
size=                             # of the corpus: conf/<size>.conf; nano with train_nano, else mini
layout=lrs3                       # how the corpus lies on disk: lrs3 or lrs2
cpu_procs=2                       # train and decode with two threads that seldom wait for each other
landmarks_every=8                 # these heads move slowly
# shellcheck disable=SC2034  # used by avsr.sh
video_checks="test_babble_0_other_video" # with the video of another clip

. utils/parse_options.sh
if [ -z "$size" ]; then
  case $train_config in *nano*) size=nano ;; *) size=mini ;; esac
fi
allow layout 'lrs3|lrs2' "lrs3 or lrs2"
[ -f "conf/$size.conf" ] || die "--size '$size': give mini or nano, or write conf/$size.conf"
# shellcheck source=conf/mini.conf
. "conf/$size.conf"
. ./avsr.sh

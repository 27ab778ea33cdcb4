#!/usr/bin/env bash
# All that a GPU must show, in one call of under 10 minutes, without a network.
#
#   tools/bench/gpu.sh --out DIR                  with the Python on PATH
#   tools/bench/gpu.sh --out DIR --wheels WHEELS  what is missing is installed from this folder
#
# Python must have torch and transformers. The environment for the missing packages is DIR/venv, which
# sees the packages of that Python. Each step has a time limit and a log, DIR/<step>.log; a step that
# fails does not stop the others. The benches write lines of JSON to DIR/results.jsonl, the steps to
# DIR/steps.jsonl. The exit status is 1 when a step failed. On a CPU all is smaller, and the steps that
# need a GPU are skipped.
set -uo pipefail

usage() {
  echo "usage: tools/bench/gpu.sh --out DIR [--wheels DIR]" >&2
  exit 2
}
out='' wheels=''
while [ $# -gt 0 ]; do
  case $1 in
    --out | --wheels)
      [ $# -ge 2 ] || usage
      printf -v "${1#--}" '%s' "$(realpath -m "$2")"
      shift 2
      ;;
    *) usage ;;
  esac
done
[ -n "$out" ] || usage
[ -z "$wheels" ] || [ -d "$wheels" ] || { echo "no folder $wheels" >&2; exit 2; }

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root" || exit
mkdir -p "$out"
results=$out/results.jsonl
: > "$results"
: > "$out/steps.jsonl"
export PYTHONPATH=$root LC_ALL=C.UTF-8 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 MOME_ENV=none
export PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
budget=580 patience=1 # seconds for all steps; factor on their limits
failed=0

note() { # step, ok | failed | skipped, reason, seconds
  "$python" - "$@" >> "$out/steps.jsonl" << 'PYTHON'
import json, sys
step, state, reason, seconds = sys.argv[1:]
print(json.dumps({"step": step, "state": state, "reason": reason, "seconds": int(seconds)}))
PYTHON
  printf '%-14s %-8s %4s s  %s\n' "$1" "$2" "$4" "$3"
}

step() { # name, limit in seconds, command
  local name=$1 limit=$(($2 * patience)) start=$SECONDS status=0 left=$((budget - SECONDS))
  shift 2
  if [ "$left" -le 5 ]; then
    failed=1
    note "$name" failed "no time left of $budget s" 0
    return
  fi
  timeout --kill-after=5 "$((limit < left ? limit : left))" "$@" > "$out/$name.log" 2>&1 || status=$?
  case $status in
    0) note "$name" ok "" $((SECONDS - start)) ;;
    124 | 137) failed=1 && note "$name" failed "time limit; see $out/$name.log" $((SECONDS - start)) ;;
    *) failed=1 && note "$name" failed "status $status; see $out/$name.log" $((SECONDS - start)) ;;
  esac
}

skip() { note "$1" skipped "$2" 0; }

# shellcheck disable=SC2329 # step calls it
install_missing() { # from the folder of wheels; as tools/install.sh, but without a network
  local pip
  "$python" -m venv --without-pip --system-site-packages "$out/venv" || return
  # Without pip, so that its old setuptools do not hide those that are there.
  # It shows the packages of the system; if Python is one of an environment, these are others.
  "$python" -c 'import site; print(*site.getsitepackages(), sep="\n")' \
    > "$(echo "$out"/venv/lib/python3*/site-packages)/parent.pth" || return
  pip=("$out/venv/bin/python" -m pip --disable-pip-version-check install --no-index --find-links "$wheels")
  "$out/venv/bin/python" - > "$out/requirements.txt" << 'PYTHON' || return
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
tests = [name for name in extras["test"] if name.startswith("pytest")]
print(*project["dependencies"], *extras["landmarks"], *extras["mini"], *extras["quantise"], *tests, sep="\n")
PYTHON
  # The torch that is there stays: it suits the GPU.
  "$out/venv/bin/python" -c 'from importlib.metadata import version; print("torch==" + version("torch"))' \
    > "$out/constraints.txt" || return
  "${pip[@]}" -c "$out/constraints.txt" -r "$out/requirements.txt" || return
  "${pip[@]}" --no-deps espnet mediapipe
}

if [ -n "$wheels" ]; then
  export -f install_missing
  export python out wheels
  step install 120 bash -c install_missing
  if [ "$failed" = 1 ]; then # nothing else can run
    tail -n 5 "$out/install.log"
    exit 1
  fi
  python=$out/venv/bin/python
  # A deepspeed that was there before starts the Python that it was installed with.
  PYTHONPATH=$root:$(echo "$out"/venv/lib/python3*/site-packages)
fi
# Recipes call python and deepspeed by their names. A link to python would leave its environment.
python=$(command -v "$python") || exit
mkdir -p "$out/bin"
printf '#!/bin/sh\nexec "%s" "$@"\n' "$python" > "$out/bin/python"
chmod +x "$out/bin/python"
PATH=$out/bin:$(dirname "$python"):$PATH
export PATH

"$python" -c 'import torch; print("GPU" if torch.cuda.is_available() else "CPU")' > "$out/device.txt" || exit
device=$(cat "$out/device.txt")
no_gpu="no GPU here"
"$python" tools/check_install.py > "$out/versions.log" 2>&1 || true
echo "on a $device; logs and results: $out"

# ---- the steps, those that can go wrong first ------------------------------------------------------

if [ "$device" = GPU ]; then
  shapes="1b 3b" seconds=5 ngpu=1 dtype=bfloat16
  step gpu_tests 150 "$python" -m pytest -q -m gpu -p no:cacheprovider tests
else
  shapes="small" seconds=1 ngpu=0 dtype=float32 patience=3 budget=1800
  export OMP_NUM_THREADS=1 # a machine with a few busy cores
  skip gpu_tests "$no_gpu"
fi

recipe() { # step, limit, options of egs/mini/avsr1/run.sh
  local name=$1 limit=$2
  shift 2
  step "$name" "$limit" egs/mini/avsr1/run.sh --train_config conf/train_nano.yaml --ngpu "$ngpu" \
    --work_dir "$out/nano" "$@"
}
precision="model.llm_dtype=$dtype model.attention=sdpa"
recipe nano 240 --train_args "$precision"

if [ -d "$out/nano/dump/feats/train" ]; then
  for bits in 4bit 8bit; do
    recipe "$bits" 60 --stage 3 --stop-stage 4 --tag "$bits" --test_snrs "" --video_checks "" \
      --train_args "$precision model.quantise=$bits train.num_steps=2"
  done
  for zero in 0 1 2 3; do
    recipe "zero_$zero" 45 --stage 3 --stop-stage 3 --tag "zero_$zero" \
      --train_args "$precision train.num_steps=2 train.deepspeed=$root/egs/TEMPLATE/avsr1/conf/deepspeed_zero$zero.json"
  done
else
  for name in 4bit 8bit zero_0 zero_1 zero_2 zero_3; do skip "$name" "nano has left no features"; done
fi

for shape in $shapes; do
  step "train_$shape" 100 "$python" tools/bench/train.py --shape "$shape" --seconds "$seconds" --json "$results"
done
# In float32 the texts must be the same; in bfloat16 it is as fast as it is used.
step decode_float32 60 "$python" tools/bench/decode.py --quick --shape "${shapes%% *}" --dtype float32 \
  --seconds "$seconds" --json "$results"
if [ "$device" = GPU ]; then
  step decode_bfloat16 110 "$python" tools/bench/decode.py --lengths 10 --shape "${shapes%% *}" \
    --dtype bfloat16 --seconds "$seconds" --json "$results"
fi
if [ -f tools/bench/features.py ]; then
  step features 60 "$python" tools/bench/features.py --device "$([ "$device" = CPU ] && echo cpu || echo cuda)" \
    --seconds "$seconds" --json "$results"
else
  skip features "tools/bench/features.py is not there"
fi
step adapters 40 "$python" tools/bench/adapters.py --alone --seconds "$((seconds > 1 ? 2 : 1))"

echo "$SECONDS s in all; $(grep -c '"failed"' "$out/steps.jsonl") failed, $(grep -c '"skipped"' "$out/steps.jsonl") skipped"
exit "$failed"

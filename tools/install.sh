#!/usr/bin/env bash
# Make the environment: .venv at the root of the project, with everything that recipes and tests use.
#
#   tools/install.sh                              run again at any time: does only what is missing
#   PYTHON=python3.12 tools/install.sh            choose the interpreter (3.11 or later)
#   TORCH_SPEC="torch==2.12.1" tools/install.sh   choose torch; one that is already there is kept otherwise
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=$PWD/.venv
log() { echo "$(date '+%Y-%m-%dT%H:%M:%S') (install.sh) $*"; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "tools/install.sh: $python is $("$python" --version 2>&1), but 3.11 or later is needed:" \
    "set PYTHON=/path/to/python3.11" >&2
  exit 1
}

exec 9> .venv.lock # two recipes that start together install once
flock 9
trap 'rm -f .venv.lock' EXIT

stamp=$venv/.installed
wanted=$({ cat setup.py tools/install.sh tools/constraints.txt; echo "${TORCH_SPEC:-}"; pwd; } | sha256sum)
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi

start=$SECONDS
[ -x "$venv/bin/python" ] || { log "making $venv with $("$python" --version)"; "$python" -m venv "$venv"; }
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@" --quiet; }

# torch first and alone: the build that suits this machine (CPU or CUDA) must not be replaced by
# another one that a later package would pull in.
if [ -n "${TORCH_SPEC:-}" ] || ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
  log "installing ${TORCH_SPEC:-torch==2.13.0}"
  # shellcheck disable=SC2086  # TORCH_SPEC may hold options too
  pip install ${TORCH_SPEC:-torch==2.13.0}
fi
constraints=$(mktemp)
"$venv/bin/python" - > "$constraints" <<'PYTHON'
from importlib.metadata import version
print("torch==" + version("torch"))
PYTHON
cat tools/constraints.txt >> "$constraints"

log "installing mome and what it needs"
pip install -c "$constraints" -e '.[mini,test]'

# espnet: its pins (setuptools<74, sentencepiece==0.2.0) contradict torch's, and its dependency ci_sdr
# is refused by pip. MoME uses a light part of it (model contract, Reporter, data directories), which
# needs these three packages only. 202511 is the last release for Python 3.11; a later one, on a later
# Python, has the same part.
# mediapipe: 0.10.21 is the last with face models inside; its own requirements ask for an older numpy
# and another OpenCV build.
log "installing espnet and mediapipe without their own requirements"
pip install -c "$constraints" typeguard humanfriendly configargparse absl-py attrs flatbuffers
pip install --no-deps 'espnet==202511' 'mediapipe==0.10.21'
rm -f "$constraints"

"$venv/bin/python" tools/check_install.py
echo "$wanted" > "$stamp"
log "done in $((SECONDS - start)) s: . .venv/bin/activate"

#!/usr/bin/env bash
# Make the environment: .venv in the root of the project, with everything that recipes use.
#
#   tools/install.sh                              run it as often as you like: it does what is missing
#   tools/install.sh test demo                    extras of pyproject.toml, too; tools/test.sh takes test
#   PYTHON=python3.12 tools/install.sh            choose the interpreter (3.11 or later)
#   TORCH_SPEC="torch==2.12.1" tools/install.sh   choose torch; without it, an installed torch is kept
#
# tools/constraints.txt pins the versions.
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

exec 9> .venv.lock # two recipes that start at the same time install once
flock 9
trap 'rm -f .venv.lock' EXIT

inputs=$({ cat pyproject.toml setup.py tools/install.sh tools/constraints.txt; echo "${TORCH_SPEC:-}"; pwd; } | sha256sum)
missing=false
for extra in base "$@"; do # each has a stamp
  [ "$extra" = base ] || grep -q "^$extra = \[" pyproject.toml || {
    echo "tools/install.sh: '$extra' is not one of the extras (optional-dependencies) of pyproject.toml" >&2
    exit 1
  }
  [ "$(cat "$venv/.installed_$extra" 2>/dev/null)" = "$inputs" ] || missing=true
done
if [ -x "$venv/bin/python" ] && [ "$missing" = false ]; then
  exit 0
fi

start=$SECONDS
[ -x "$venv/bin/python" ] || { log "making $venv with $("$python" --version)"; "$python" -m venv "$venv"; }
# Python compiles a file when it is first imported; few of those that are installed ever are.
pip_install() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-compile "$@"; }
pinned() { grep "^$1==" tools/constraints.txt; } # name -> name==version

# torch first and alone: a later package must not replace the build that suits this machine (CPU or
# CUDA) with another one.
if [ -n "${TORCH_SPEC:-}" ] || ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
  log "installing ${TORCH_SPEC:=$(pinned torch)}"
  # shellcheck disable=SC2086  # TORCH_SPEC may hold options, too
  pip_install $TORCH_SPEC
fi
constraints=$(mktemp) # the pinned versions, but with the torch that is installed
"$venv/bin/python" - > "$constraints" <<'PYTHON'
from importlib.metadata import version
print("torch==" + version("torch"))
PYTHON
grep -v '^torch==' tools/constraints.txt >> "$constraints"

log "installing mome and what it needs"
extras=$(IFS=,; echo "landmarks,mini${*:+,$*}")
pip_install -c "$constraints" -e ".[$extras]"
rm -f "$constraints"

# espnet: its pins (setuptools<74, sentencepiece==0.2.0) contradict those of torch, and pip refuses
# its dependency ci_sdr. MoME uses a small part of it (model contract, Reporter, data directories),
# for which the packages that pyproject.toml lists are enough. 202511 is the last release for Python
# 3.11; later ones, for later Pythons, have the same part.
# mediapipe: 0.10.21 is the last with face models in the package; it requires an older numpy and
# another build of OpenCV, but works without them.
log "installing espnet and mediapipe without their own requirements"
pip_install --no-deps "$(pinned espnet)" "$(pinned mediapipe)"

"$venv/bin/python" tools/check_install.py
for extra in base "$@"; do echo "$inputs" > "$venv/.installed_$extra"; done
log "done in $((SECONDS - start)) s: . .venv/bin/activate"

#!/usr/bin/env bash
# Lint and tests, in the environment of tools/install.sh (made if need be).
#
#   tools/test.sh                    everything but the tests marked slow or gpu
#   tools/test.sh -m slow            those marked slow
#   tools/test.sh tests/test_wer.py  any arguments of pytest
set -euo pipefail
cd "$(dirname "$0")/.."
tools/install.sh
# shellcheck disable=SC1091
. .venv/bin/activate
export LC_ALL=C.UTF-8 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

ruff check .
ruff format --check .
# -x follows `source`; the recipes' files are sourced from a recipe's folder.
for recipe in egs/*/avsr1; do
  [ ! -f "$recipe/run.sh" ] || (cd "$recipe" && shellcheck -x run.sh avsr.sh path.sh cmd.sh utils/*.sh local/*.sh)
done
shellcheck tools/*.sh .ci/run
if [ $# -eq 0 ]; then set -- -m "not slow and not gpu"; fi
exec python -m pytest -n 2 --dist loadfile "$@"

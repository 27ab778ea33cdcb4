#!/usr/bin/env bash
# Lint, types and tests. Makes the environment first (tools/install.sh).
#
#   tools/test.sh                    all tests except those marked slow or gpu
#   tools/test.sh -m slow            the slow ones
#   tools/test.sh tests/test_llms.py any arguments of pytest
set -euo pipefail
cd "$(dirname "$0")/.."
tools/install.sh test
# shellcheck disable=SC1091
. .venv/bin/activate
unset PYTHONDONTWRITEBYTECODE # each process of a test would compile what it imports anew
export LC_ALL=C.UTF-8 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

ruff check .
ruff format --check .
mypy
# -x follows `source`; a recipe's files are sourced from its folder.
for recipe in egs/*/avsr1; do
  [ ! -f "$recipe/run.sh" ] || (cd "$recipe" && shellcheck -x run.sh avsr.sh path.sh cmd.sh utils/*.sh local/*.sh)
done
shellcheck tools/*.sh .ci/run
if [ $# -eq 0 ]; then set -- -m "not slow and not gpu"; fi
exec python -m pytest -n 2 --dist loadfile "$@"

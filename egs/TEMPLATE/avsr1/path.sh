# The environment of a recipe: sourced by avsr.sh.
# shellcheck shell=bash

MOME_ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../.." && pwd)
export MOME_ROOT

# MOME_ENV=none uses the Python that is on PATH, where mome is installed already.
if [ "${MOME_ENV:-}" != none ]; then
  "$MOME_ROOT/tools/install.sh" || exit 1
  # shellcheck disable=SC1091
  . "$MOME_ROOT/.venv/bin/activate"
  unset PYTHONDONTWRITEBYTECODE # each command would compile what it imports anew, for 10 seconds
fi

export LC_ALL=C               # Kaldi data directories sort by bytes
export PYTHONIOENCODING=utf-8 # whatever the locale
export OMP_NUM_THREADS=1      # jobs run side by side; training sets its own
export TOKENIZERS_PARALLELISM=false
export PYTHONUNBUFFERED=1

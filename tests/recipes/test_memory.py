"""What with_mimalloc in cmd.sh gives to the commands of a recipe."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

CMD = Path(__file__).parents[2] / "egs/TEMPLATE/avsr1/cmd.sh"
SHOW = """
import os
print(os.environ.get('LD_PRELOAD', ''), 'mimalloc' in open('/proc/self/maps').read())
"""


def show(ngpu: str, python: str = sys.executable) -> list[str]:
    """LD_PRELOAD of a command, and whether mimalloc is in its memory."""
    text = CMD.read_text()
    functions = text[text.index("with_mimalloc()") : text.index("# Encoding and decoding: a task")]
    script = f'set -euo pipefail\npython() {{ {python} "$@"; }}\nngpu={ngpu}\n{functions}\n'
    script += f'with_mimalloc {sys.executable} -c "$0"'
    done = subprocess.run(["bash", "-c", script, SHOW], capture_output=True, text=True, check=True)
    assert not done.stderr
    return re.split(r" (?=True|False)", done.stdout.strip("\n"))


def test_a_command_on_the_cpu_has_mimalloc_and_one_on_a_gpu_has_not():
    try:
        files("cmeel-mimalloc")
    except PackageNotFoundError:
        pytest.skip("cmeel-mimalloc is not installed")
    library, loaded = show("0")
    assert library.endswith("/libmimalloc.so") and loaded == "True"
    assert show("1") == ["", "False"]


def test_without_mimalloc_the_command_runs_as_it_is():
    assert show("0", python="false") == ["", "False"]

"""The console script: `mome VERB ...` is `python -m mome.bin.VERB ...`; `mome` lists the verbs."""

import ast
import difflib
import runpy
import sys
from pathlib import Path

from mome import __version__

FOLDER = Path(__file__).parent


def verbs() -> dict[str, str]:
    """Every command, and the first line of its file's docstring."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem != "main" and not path.stem.startswith("_"):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            found[path.stem] = text.split("\n")[0]
    return found


def main(argv: list[str] | None = None) -> None:
    """Run a command by its name."""
    argv = sys.argv[1:] if argv is None else argv
    known = verbs()
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: mome VERB ...      (mome VERB --help: its options; mome --version)\n")
        for verb, text in known.items():
            print(f"  {verb:18} {text.split(': ')[0]}")
        return
    if argv[0] == "--version":
        print(f"mome {__version__}")
        return
    verb = argv[0].replace("-", "_")
    if verb not in known:
        near = difflib.get_close_matches(verb, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        sys.stderr.write(f"mome: error: no command called '{argv[0]}'{hint} (mome lists them)\n")
        sys.exit(2)
    sys.argv = [f"mome {verb}", *argv[1:]]
    runpy.run_module(f"mome.bin.{verb}", run_name="__main__")

"""The console script: `mome VERB ...` is `python -m mome.bin.VERB ...`; `mome` lists them."""

import ast
import difflib
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def verbs() -> dict[str, str]:
    """Every command, and the first line of what its file says."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem not in ("__init__", "main"):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            found[path.stem] = text.split("\n")[0]
    return found


def main(argv: list[str] | None = None) -> None:
    """Run a command by its name."""
    argv = sys.argv[1:] if argv is None else argv
    known = verbs()
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: mome VERB ...      (mome VERB --help says more)\n")
        for verb, text in known.items():
            print(f"  {verb:18} {text.split(': ')[0]}")
        return
    if argv[0] not in known:
        near = difflib.get_close_matches(argv[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        sys.exit(f"mome: no command called '{argv[0]}'{hint} (mome --help lists them)")
    sys.argv = [f"{argv[0]}.py", *argv[1:]]
    runpy.run_module(f"mome.bin.{argv[0]}", run_name="__main__")

"""The shape of the package: who may import whom, checked by reading the sources."""

import ast
from pathlib import Path

import pytest

MOME = Path(__file__).parent.parent / "mome"
FILES = sorted(p for p in MOME.rglob("*.py") if p.name != "__init__.py")
SHELF = {"bin": 3, "corpora": 2, "synthesis": 2}
LEVEL = {  # of the files straight in mome/; those not named are leaves
    **dict.fromkeys(["transcribe", "plots"], 2),
    **dict.fromkeys(
        ["model", "dataset", "checkpoint", "decoding", "experiment", "warmup", "online"], 1
    ),
    **dict.fromkeys(["adapters", "mixing"], 0.7),
    **dict.fromkeys(["inject", "encoders", "prompt", "datadir", "video", "alignment"], 0.5),
}
LEAVES = "experts lora plain compression avhubert audio ark noise augment config wer stamp analysis"


def imports(path: Path) -> set[Path]:
    """The files of the package that `path` imports, at any depth of the source."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mome":
            base = MOME.joinpath(*node.module.split(".")[1:])
            for name in [base, *(base / a.name for a in node.names)]:
                if name.with_suffix(".py").exists():
                    found.add(name.with_suffix(".py"))
    return found


def height(path: Path) -> float:
    return SHELF.get(path.parent.name, LEVEL.get(path.stem, 0))


def chain(path: Path, above: tuple[Path, ...] = ()) -> int:
    """Length of the longest chain of imports that starts at `path`."""
    assert path not in above, "import cycle: " + " -> ".join(p.name for p in (*above, path))
    return 1 + max((chain(p, (*above, path)) for p in imports(path)), default=0)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(MOME)))
def test_imports_point_down_and_chains_are_short(path):
    for other in imports(path):
        assert height(other) <= height(path), f"{path.name} must not import {other.name}"
        assert not (path.parent.name == other.parent.name == "bin"), "commands are independent"
    assert chain(path) <= 6
    if path.parent == MOME and path.stem in LEAVES.split():
        assert not imports(path) - {MOME / "stamp.py"}, f"{path.name} is a leaf"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(MOME)))
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 400
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path.name} has no docstring"


def test_deepspeed_is_imported_by_training_alone():
    users = {p.name for p in FILES if "import deepspeed" in p.read_text()}
    assert users <= {"train.py"}

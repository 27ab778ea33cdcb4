"""The shape of the package, read from its sources: who imports whom, and how long files are.

bin -> transcribe scoring training synthesis -> model decoding checkpoint data corpora -> leaves
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOME = ROOT / "mome"
FILES = sorted(MOME.rglob("*.py"))
LEVELS = [  # a file imports from its own level and from those below
    ["bin"],
    ["transcribe", "scoring", "training", "synthesis"],
    ["model", "decoding", "checkpoint", "data", "corpora"],
    ["adapters", "inject", "encoders", "prompt", "alignment"],
]
LEAVES = ["experts", "lora", "compression", "avhubert", "config", "files"]
MOST_FILES_AT_THE_TOP = 15  # files.py and 14 ideas of the paper
LONGEST_CHAIN = 6
LONGEST_FILE = 400  # lines


def name_of(path: Path) -> str:
    """mome/data/audio.py -> mome.data.audio; a package is called as its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of the package that a module imports, at any depth of its source."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys() or {node.module}
    return frozenset(found & MODULES.keys() - {module})


def level(module: str) -> int:
    """0 for a command; the higher the number, the fewer modules it may import."""
    part = module.split(".")[1] if "." in module else "bin"
    return next((k for k, parts in enumerate(LEVELS) if part in parts), len(LEVELS))


def chain(module: str, above: tuple[str, ...] = ()) -> list[str]:
    """The longest chain of imports that starts at a module."""
    assert module not in above, "import cycle: " + " -> ".join((*above, module))
    chains = [chain(other, (*above, module)) for other in sorted(imports(module))]
    return [module, *max(chains, key=len, default=[])]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down_and_chains_are_short(module):
    for other in imports(module):
        assert level(other) >= level(module), f"{module} must not import {other}"
        commands = {m for m in (module, other) if m.startswith("mome.bin.")}
        assert len(commands) < 2, f"{module} imports {other}: commands are independent"
    if module.removeprefix("mome.") in LEAVES:
        assert imports(module) <= {"mome.files", "mome.data"}, f"{module} is a leaf"
    longest = chain(module)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


@pytest.mark.parametrize("module", MODULES)
def test_a_file_can_be_read_in_one_sitting(module):
    source = MODULES[module].read_text()
    assert len(source.splitlines()) <= LONGEST_FILE
    assert ast.get_docstring(ast.parse(source)), f"{module} has no docstring"


def test_the_top_of_the_package_is_the_method():
    top = {path.stem for path in MOME.glob("*.py")} - {"__init__"}
    assert len(top) <= MOST_FILES_AT_THE_TOP, sorted(top)


def test_deepspeed_is_imported_by_training_alone():
    users = {name for name, path in MODULES.items() if "import deepspeed" in path.read_text()}
    assert users and all(n == "mome.bin.train" or n.startswith("mome.training.") for n in users)

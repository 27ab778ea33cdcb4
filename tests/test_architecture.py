"""The shape of the package, read from its sources: who imports whom, and how long files are.

`python tests/test_architecture.py` prints the figures.

bin -> transcription scoring training synthesis -> model decoding checkpoint data corpora -> leaves
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOME = ROOT / "mome"
FILES = sorted(MOME.rglob("*.py"))
LEVELS = [  # a file imports from its own level and from those below
    ["bin", "demo"],
    ["transcription", "scoring", "training", "synthesis"],
    ["model", "decoding", "checkpoint", "data", "corpora"],
    ["adapters", "inject", "encoders", "search", "prompt", "alignment"],
]
LEAVES = ["experts", "lora", "compression", "avhubert", "config", "files"]
ROOTS = {"mome.files", "mome.data"}  # what a leaf may import; mome.data itself holds three rates
MOST_FILES_AT_THE_TOP = 16  # files.py and 15 ideas of the method, beam search among them
LONGEST_CHAIN = 6
LONGEST_FILE, LONGEST_COMMAND, LONGEST_FUNCTION = 400, 200, 60  # lines
DEEPEST = 4  # blocks inside each other in a function
# In all modules that the train command reaches. Some 1,000 of them find, check or decode what
# training reads: media, tables, features, limits of settings, DeepSpeed's file, saved states.
MOST_LINES_TO_TRAIN = 6400
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)


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
    if module in ROOTS:
        return len(LEVELS)
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
        commands = {m for m in (module, other) if m.startswith("mome.bin.") and "._" not in m}
        assert len(commands) < 2, f"{module} imports {other}: commands are independent"
    if module.removeprefix("mome.") in LEAVES:
        assert imports(module) <= ROOTS, f"{module} is a leaf"
    longest = chain(module)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


@pytest.mark.parametrize("module", MODULES)
def test_a_file_can_be_read_in_one_sitting(module):
    source = MODULES[module].read_text()
    is_command = module.startswith("mome.bin.")
    assert len(source.splitlines()) <= (LONGEST_COMMAND if is_command else LONGEST_FILE)
    assert ast.get_docstring(ast.parse(source)), f"{module} has no docstring"


def depth(node: ast.AST) -> int:
    """How many blocks stand inside each other in a node; `elif` is no deeper than its `if`."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            continue  # looked at by itself
        is_elif = isinstance(node, ast.If) and node.orelse == [child] and isinstance(child, ast.If)
        deepest = max(deepest, depth(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short_and_flat(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{module}.{node.name} has {length} lines"
            assert depth(node) <= DEEPEST, f"{module}.{node.name} nests {depth(node)} deep"


def reach(module: str) -> tuple[int, int]:
    """How many modules a module needs, itself included, and how many lines they have."""
    reached, new = set(), {module}
    while new:
        reached |= new
        new = {other for module in new for other in imports(module)} - reached
    return len(reached), sum(len(MODULES[m].read_text().splitlines()) for m in reached)


def test_training_is_within_reach():
    num_modules, lines = reach("mome.bin.train")
    assert lines <= MOST_LINES_TO_TRAIN, f"{lines} lines in {num_modules} modules"


def test_the_top_of_the_package_is_the_method():
    top = {path.stem for path in MOME.glob("*.py")} - {"__init__"}
    assert len(top) <= MOST_FILES_AT_THE_TOP, sorted(top)


def test_deepspeed_is_imported_by_training_alone():
    users = {name for name, path in MODULES.items() if "import deepspeed" in path.read_text()}
    assert users and all(n == "mome.bin.train" or n.startswith("mome.training.") for n in users)


def print_figures() -> None:
    """Modules, the longest chain, what the train command reaches, the longest functions."""
    chains = [chain(module) for module in sorted(MODULES)]  # a cycle is an error
    longest = max(chains, key=len)
    print(f"{len(MODULES)} modules, no cycle; longest chain {len(longest)}: {' -> '.join(longest)}")
    print("the train command reaches {} modules, {} lines".format(*reach("mome.bin.train")))
    functions = [
        (node.end_lineno - node.lineno + 1, depth(node), f"{module}.{node.name}")
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    print(f"{len(functions)} functions; the longest, with their depth:")
    for lines, deep, name in sorted(functions, reverse=True)[:10]:
        print(f"  {lines:3} lines, {deep} deep  {name}")


if __name__ == "__main__":
    print_figures()

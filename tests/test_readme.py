"""The commands of the documents: each one is run, or checked in a form that costs seconds.

A command that no function below knows fails, so none is skipped in silence. The test of the mini
recipe runs all of its stages.
"""

import ast
import inspect
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

import mome
from mome.bin import new_recipe

ROOT = Path(__file__).parent.parent
PYTHON = Path(sys.executable)
DOCUMENTS = {  # document: the folder in which its commands are run
    "README.md": ".",
    "CONTRIBUTING.md": ".",
    "egs/README.md": "egs/lrs3/avsr1",
}
NEW_RECIPE = "egs/my_corpus/avsr1"  # which `mome new_recipe` makes
PLACES = ("/data/", "/models/", "/exp/")  # folders of the reader
DIAGRAM = "->"  # lines of a drawing, not commands


def code_blocks(text: str) -> list[list[str]]:
    """The lines of each indented block that follows an empty line."""
    blocks = re.findall(r"(?<=\n\n)(?: {4}\S.*\n(?: {5,}\S.*\n)*)+", text)
    return [block.splitlines() for block in blocks]


def commands() -> list[tuple[str, str, str]]:
    """Each command of the documents: document, folder, command without its comment."""
    found = []
    for document, start in DOCUMENTS.items():
        for block in code_blocks((ROOT / document).read_text()):
            folder = start
            if any(DIAGRAM in line for line in block):
                continue
            if block[0].startswith("    import "):
                found.append((document, folder, shlex.join(["import", "\n".join(block)])))
                continue
            for line in block:
                words = shlex.split(line, comments=True)
                if words[0] == "cd":
                    folder = words[1]
                found += [(document, folder, part) for part in shlex.join(words).split(" '&&' ")]
    return found


COMMANDS = commands()


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader's machine: its folders below tmp_path, programs of clusters that do nothing."""
    for folder in ("lrs3/pretrain", "lrs3/trainval", "lrs3/test", "musan"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for noise in ("music", "noise", "speech"):
        (tmp_path / "data/musan" / f"{noise}.wav").touch()
    (tmp_path / "data/clips").mkdir()
    (tmp_path / "models/llama").mkdir(parents=True)
    (tmp_path / "exp").mkdir()
    (tmp_path / "hosts").write_text("node1 slots=8\n")
    (tmp_path / "large_vox_iter5.pt").touch()
    (tmp_path / "bin").mkdir()
    programs = {
        "sbatch": "",
        "pdsh": "",
        "mome": f'exec {PYTHON} -c "from mome.bin import main; main.main()" "$@"',
        # The count of a dry run costs seconds; README's own `mome count` is run.
        "python": f'[ "$2" = mome.bin.count ] && echo projectors || exec {PYTHON} "$@"',
    }
    for name, line in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}:{PYTHON.parent}:/usr/local/bin:/usr/bin:/bin"
    for name, value in (("PATH", path), ("MOME_ENV", "none"), ("PYTHONPATH", str(ROOT))):
        monkeypatch.setenv(name, value)
    return tmp_path


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(
        words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def check_recipe(words: list[str], folder: Path) -> None:
    """Options, values and files of a recipe: what a dry run reads."""
    cheap = [] if {"--help", "--dry-run"} & {*words} else ["--dry-run"]
    output = run([*words, *cheap], folder)
    assert "--train_config" in output if "--help" in words else "projectors" in output


def check_options(program: list[str], options: list[str], folder: Path) -> None:
    """A program that the test cannot afford: its options must be in its help."""
    names = [word for word in options if word.startswith("--")]
    text = run([*program, "--help"], folder) if names else ""
    for name in names:
        assert re.search(rf"{name}\b", text), f"{program} has no option {name}"


def check_python(code: str) -> None:
    """The functions of `mome` that a piece of Python calls must exist and take these arguments."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    for call in calls:
        assert isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "mome"
        names = {keyword.arg: None for keyword in call.keywords}
        inspect.signature(getattr(mome, call.func.attr)).bind(*call.args, **names)
    assert calls


def check_pip(words: list[str], folder: Path) -> None:
    """Versions must be the tested ones, extras and files must exist."""
    tested = (ROOT / "tools/constraints.txt").read_text().split("\n")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert words[1] == "install"
    for word in words[2:]:
        if "==" in word:
            assert word in tested
        elif word.startswith("."):
            assert {*re.findall(r"\w+", word)} <= extras.keys()
        elif "/" in word:
            assert (folder / word).is_file()
        elif not word.startswith("-"):
            assert any(word in packages for packages in extras.values())


def check(words: list[str], folder: Path) -> None:
    program = words[0]
    if program == "cd":
        assert (ROOT / words[1]).is_dir() or words[1] == NEW_RECIPE
    elif program == "import":
        check_python(textwrap.dedent(words[1]))
    elif program == ".":
        assert words[1] == ".venv/bin/activate" and "venv=$PWD/.venv" in install_script()
    elif program.endswith("run.sh"):
        check_recipe(words, folder)
    elif program.startswith("tools/"):
        run(["bash", "-n", program], folder)
        assert all((folder / word).exists() for word in words[1:] if "/" in word)
    elif program == "mome" and words[1] in ("--help", "config", "count"):
        assert run(words, folder)
    elif program == "mome":
        check_options(words[:2], words[2:], folder)
    elif words[:3] == ["python", "-m", "pytest"]:
        names = re.findall(r"^def (test_\w+)", (ROOT / words[3]).read_text(), re.MULTILINE)
        assert words[4:] == [] or (words[4] == "-k" and any(words[5] in name for name in names))
    elif words[:2] == ["python", "-c"]:
        run(["python", "-c", words[2].rpartition("(")[0]], folder)  # all but the call itself
    elif program == "python":
        assert (ROOT / words[1]).is_file()
        check_options(["python", str(ROOT / words[1])], words[2:], folder)
    elif program == "pip":
        check_pip(words, folder)
    elif program in ("ruff", "mypy"):
        assert f'"{program}>=' in (ROOT / "pyproject.toml").read_text()
    else:
        assert program == "cut" and shutil.which("cut"), f"no test knows how to check {program}"


def install_script() -> str:
    return (ROOT / "tools/install.sh").read_text()


@pytest.mark.parametrize("document, folder, command", COMMANDS, ids=[c[2] for c in COMMANDS])
def test_a_command_of_the_documents_works(document, folder, command, reader):
    for place in PLACES:
        command = re.sub(rf"(?<![\w.]){place}", f"{reader}{place}", command)
    for name in ("hosts", "large_vox_iter5.pt"):
        command = re.sub(rf"(?<= ){name}\b", str(reader / name), command)
    root = ROOT
    if folder == NEW_RECIPE:
        root = reader
        shutil.copytree(ROOT / "egs/TEMPLATE", reader / "egs/TEMPLATE", symlinks=True)
        new_recipe.make_recipe("my_corpus", reader / "data/clips", reader / "egs")
    check(shlex.split(command), root / folder)


def test_the_commands_are_found():
    counts = {name: sum(c[0] == name for c in COMMANDS) for name in DOCUMENTS}
    assert counts["README.md"] > 12 and min(counts.values()) > 5, counts
    lines = [
        line for block in code_blocks("Text:\n\n    ls a\n    ls b # c\n\nMore\n") for line in block
    ]
    assert lines == ["    ls a", "    ls b # c"]


def test_a_wrong_command_is_found(reader):
    recipe, none = "egs/mini/avsr1/run.sh", "conf/none.yaml"
    for wrong in (f"{recipe} --trian_args x", f"{recipe} --train_config {none}", "make all"):
        with pytest.raises(AssertionError):
            check(shlex.split(wrong), ROOT)


@pytest.mark.parametrize("document", [*DOCUMENTS, "egs/mini/avsr1/NOTES.md", "CHANGELOG.md"])
def test_links_and_files_exist(document):
    text = (ROOT / document).read_text()
    for link in re.findall(r"\]\(([^)#]*)(?:#[\w-]*)?\)", text):
        assert link.startswith("http") or ((ROOT / document).parent / link).exists(), link
    for target, anchor in re.findall(r"\]\(([^)#]*)#([\w-]+)\)", text):
        path = (ROOT / document).parent / target if target else ROOT / document
        headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
        slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
        assert anchor in slugs, anchor
    for path in re.findall(r"`((?:mome|egs|tests|tools)/[\w./]+)`", text):
        assert document == "CHANGELOG.md" or "NAME" in path or (ROOT / path).exists(), path


def test_the_readme_is_a_door():
    lines = (ROOT / "README.md").read_text().splitlines()
    order = [lines.index(f"## {name}") for name in ("Install", "Run", "Results", "Questions")]
    assert order == sorted(order) and len(lines) <= 120

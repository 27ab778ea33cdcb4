"""The paper's tables and figures: every command of the list in egs/README.md, and its parameters.

The tests read the list, so a command, a config or a tuning list that changes without it is found.
"""

import functools
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mome import config
from mome.bin import main
from mome.scoring import cost
from mome.training import settings

EGS = Path(__file__).parents[2] / "egs"
TITLE = "## Tables and figures of the paper"
ITEMS = {f"Table {n}" for n in range(1, 9)} | {f"Fig. {n}" for n in (1, 3, 4, 5, 6, 8, 9)}
NOT_OF_THE_PAPER = {"tasks", "static"}  # lists
EXCEPTIONS = {  # the paper's count of active parameters does not fit the formula
    ("lrs3", "train_mtsk_ms.yaml"): "8.1M",
    ("lrs3", "train_mtsk_ss.yaml"): "8.1M",
}


@dataclass(frozen=True)
class Row:
    """A row of the list for one corpus; `corpus` is the name of its recipe."""

    item: str
    corpus: str
    command: str
    runs: str
    size: str  # active parameters, "in the list", or "-"


def rows() -> list[Row]:
    """The rows of the list in egs/README.md, one for each corpus."""
    section = (EGS / "README.md").read_text().split(f"\n{TITLE}\n")[1].split("\n## ")[0]
    found = []
    for line in section.splitlines():
        if not line.startswith(("| Table", "| Fig.")):
            continue
        item, corpora, command, runs, size, _ = (cell.strip() for cell in line[1:-1].split(" | "))
        names = corpora.lower().split(", ")
        sizes = size.split(", ") if "M" in size else [size] * len(names)
        for corpus, number in zip(names, sizes, strict=True):
            found.append(Row(item, corpus, command.strip("`"), runs, number))
    return found


ROWS = rows()
RECIPES = [row for row in ROWS if row.command.startswith("./run.sh")]
COMMANDS = sorted({row.command for row in ROWS} - {row.command for row in RECIPES})
LISTS = sorted(path for c in ("lrs2", "lrs3") for path in EGS.glob(f"{c}/avsr1/conf/tuning/*.txt"))


def of_row(row: Row) -> str:
    return f"{row.item}-{row.corpus}"


def of_list(path: Path) -> str:
    return f"{path.parts[-5]}-{path.stem}"


def defaults(corpus: str) -> dict[str, str]:
    """The settings of a recipe, as utils/parse_options.sh reads them."""
    recipe = EGS / corpus / "avsr1"
    text = (recipe / "utils/settings.sh").read_text() + (recipe / "run.sh").read_text()
    lines = re.findall(r"^[a-z][a-z0-9_]*=.*", text, re.MULTILINE)
    pairs = (shlex.split(line, comments=True)[0].split("=", 1) for line in lines)
    return {name: value for name, value in pairs}


def given(corpus: str, command: str, data: Path = Path("/data")) -> dict[str, str]:
    """The settings of a recipe with the options of a command; its /data is the folder `data`."""
    values = defaults(corpus)
    words = shlex.split(command.replace("/data/", f"{data}/"))[1:]
    for option, value in zip(words[::2], words[1::2], strict=True):
        name = option.removeprefix("--").replace("-", "_")
        assert name in values, f"the recipe of {corpus} has no setting {option}"
        values[name] = value
    for name in ("train_config", "tuning"):
        if values[name]:
            values[name] = str(EGS / corpus / "avsr1" / values[name])
    return values


def changes(values: dict[str, str]) -> dict[str, list[str]]:
    """Name -> changes to the train config of each training run of a command."""
    every = settings.words(values, "train_args")
    found = settings.experiments(values) if values["tuning"] else [("", [])]
    return {name: every + overrides for name, overrides in found}


def sizes(path: str) -> dict[str, str]:
    """Name -> active parameters, of each line of a list whose comment above gives them."""
    found, size = {}, None
    for line in Path(path).read_text().splitlines():
        if line.startswith("#"):
            match = re.search(r"([\d.]+M) active$", line)
            size = match[1] if match else size
        elif line and size:
            found[line.split()[0]], size = size, None
    return found


@functools.cache
def active(path: str, overrides: tuple[str, ...]) -> int:
    return cost.count_parameters(config.load(path, [*overrides]))["active"]


def rounded(number: int, like: str) -> str:
    """A number in millions with as many digits as another one: 18152064, "18.15M" -> "18.15M"."""
    return f"{number / 1e6:.{len(like.split('.')[1]) - 1}f}M"


def test_every_item_of_the_paper_has_a_command():
    named = set()
    for row in ROWS:
        kind, numbers = re.match(r"(Table|Fig\.) ([\d, ]+)", row.item).groups()
        named |= {f"{kind} {n}" for n in numbers.replace(",", " ").split()}
    assert named == ITEMS


@pytest.mark.parametrize("row", RECIPES, ids=of_row)
def test_a_command_passes_the_checks_that_its_recipe_starts_with(row, tmp_path):
    (tmp_path / "noisex92").mkdir()
    values = given(row.corpus, row.command, tmp_path) | {"work_dir": str(tmp_path)}
    settings.check(values, EGS / row.corpus / "avsr1")
    assert len(changes(values)) == int(row.runs)


@pytest.mark.parametrize("row", RECIPES, ids=of_row)
def test_mome_count_gives_the_active_parameters(row):
    values = given(row.corpus, row.command)
    runs = changes(values)
    listed = sizes(values["tuning"]) if values["tuning"] else {}
    if row.size == "in the list":
        assert listed.keys() == runs.keys()
    else:
        assert row.size.endswith("M")
        listed |= {f"{name} of {row.item}": row.size for name in runs}
    for name, size in listed.items():
        overrides = tuple(runs[name.split(" of ")[0]])
        assert rounded(active(values["train_config"], overrides), size) == size, name


@pytest.mark.parametrize("corpus, name", EXCEPTIONS)
def test_the_counts_of_the_paper_that_do_not_fit_are_known(corpus, name):
    size = EXCEPTIONS[corpus, name]
    path = str(EGS / corpus / "avsr1/conf" / name)
    assert rounded(active(path, ()), size) == "6.8M" != size
    assert size in (EGS / "README.md").read_text()


@pytest.mark.parametrize("path", LISTS, ids=of_list)
def test_the_head_of_a_list_gives_a_command_of_the_table(path):
    pattern = r"# Command: egs/(\w+)/avsr1/(run\.sh(?:[^\n]*\\\n#)*[^\n(]*)"
    corpus, command = re.search(pattern, path.read_text()).groups()
    words = shlex.split(f"./{command}".replace("\\\n#", " "))
    assert corpus == path.parts[-5]
    if path.stem in NOT_OF_THE_PAPER:
        settings.check(given(corpus, shlex.join(words)), EGS / corpus / "avsr1")
        assert f"`{path.name}`" in (EGS / "README.md").read_text()
    else:
        assert words in [shlex.split(row.command) for row in RECIPES if row.corpus == corpus]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_other_commands_and_their_options_exist(command, capsys, monkeypatch):
    program, verb, *options = shlex.split(command)
    assert program == "mome"
    monkeypatch.setattr(sys, "argv", ["mome"])
    with pytest.raises(SystemExit):
        main.main([verb, "--help"])
    text = capsys.readouterr().out
    for option in options:
        assert not option.startswith("--") or re.search(rf"{option}\b", text), option


def dry_run(row: Row, data: Path, environment: dict[str, str]) -> str:
    """What a command prints with --dry-run, in the folder of its recipe."""
    words = [*shlex.split(row.command.replace("/data/", f"{data}/")), "--dry-run"]
    if "--work_dir" in words:  # a dry run makes this folder
        words[words.index("--work_dir") + 1] = str(data / "work")
    done = subprocess.run(
        words,
        cwd=EGS / row.corpus / "avsr1",
        env={**os.environ, "MOME_ENV": "none", "PYTHONPATH": str(EGS.parent), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_dry_run_counts_what_a_list_trains(tmp_path):
    (row,) = [r for r in RECIPES if r.item == "Table 1: bottleneck 1" and r.corpus == "lrs3"]
    text = dry_run(row, tmp_path, {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})
    assert "expert_dim: 1" in text and "active" in text and "(0.885M)" in text


@pytest.mark.slow
@pytest.mark.parametrize("row", RECIPES, ids=of_row)
def test_a_dry_run_of_every_command_shows_each_of_its_training_runs(row, tmp_path):
    (tmp_path / "noisex92").mkdir()
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"  # without the counts, which another test makes
    python.write_text(
        f'#!/bin/sh\n[ "$2" = mome.bin.count ] && echo counted || exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    text = dry_run(row, tmp_path, {"PATH": f"{python.parent}:{os.environ['PATH']}"})
    assert text.count("counted\n") == text.count("\nmodel:\n") == int(row.runs)

"""A recipe for a corpus of one's own, made by one command."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mome import config
from mome.bin import new_recipe

EGS = Path(__file__).parents[2] / "egs"


@pytest.fixture
def egs(tmp_path) -> Path:
    """The recipes of a clone: TEMPLATE alone."""
    shutil.copytree(EGS / "TEMPLATE", tmp_path / "clone/egs/TEMPLATE", symlinks=True)
    return tmp_path / "clone/egs"


def test_the_recipe_is_filled_linked_and_passes_shellcheck(egs, tmp_path, capsys):
    root = tmp_path / "it's my corpus"
    root.mkdir()
    new_recipe.main(["my_corpus", "--root", str(root), "--egs", str(egs)])
    recipe = egs / "my_corpus/avsr1"
    assert f"cd {recipe}" in capsys.readouterr().out
    files = {p.relative_to(recipe): p for p in recipe.rglob("*") if not p.is_dir()}
    assert all(p.exists() for p in files.values())  # no link leads nowhere
    for name in ("avsr.sh", "path.sh", "cmd.sh", "utils", "conf/slurm.conf"):
        assert not os.path.isabs(os.readlink(recipe / name))  # a clone may be moved
    assert os.access(recipe / "run.sh", os.X_OK)
    own = [p for p in files.values() if not p.is_symlink()]
    assert not [p for p in own if "@" in p.read_text()] and len(own) == 5
    assert f"root={shlex.quote(str(root))} #" in (recipe / "run.sh").read_text()
    for path in recipe.glob("conf/train_*.yaml"):
        config.load(path)
    scripts = ["run.sh", "avsr.sh", "path.sh", "cmd.sh", "local/data.sh"]
    subprocess.run(["shellcheck", "-x", *scripts], cwd=recipe, check=True)


def test_its_settings_work_and_the_corpus_is_asked_for(egs, tmp_path):
    new_recipe.main(["my_corpus", "--egs", str(egs)])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for options, status, text in (
        (["--help"], 0, "--root "),
        (["--train_config", "conf/train_nano.yaml"], 2, "--root is not set: give the folder of"),
    ):
        done = subprocess.run(
            [egs / "my_corpus/avsr1/run.sh", *options],
            env={**os.environ, "MOME_ENV": "none", "PATH": path},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == status and text in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("My Corpus", [], "'My Corpus' cannot be the name of a recipe: give lower-case letters"),
        ("../x", [], "cannot be the name of a recipe"),
        ("grid", [], "a corpus is called grid: give another name"),
        ("old", [], "old exists: give another name, or remove it"),
        ("my_corpus", ["--root", "/none"], "--root /none is not a folder: give the folder of the"),
    ],
)
def test_what_cannot_be_made_is_one_line_and_leaves_nothing(egs, name, options, message):
    (egs / "old").mkdir()
    with pytest.raises((ValueError, OSError), match=message):
        new_recipe.main([name, "--egs", str(egs), *options])
    assert sorted(p.name for p in egs.iterdir()) == ["TEMPLATE", "old"]


def test_a_recipe_that_could_not_be_written_is_not_there(egs, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        new_recipe.main(["my_corpus", "--egs", str(egs)])
    assert [p.name for p in egs.iterdir()] == ["TEMPLATE"]


def test_without_the_repository_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(new_recipe, "__file__", str(tmp_path / "site/mome/bin/new_recipe.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"not of the installed package\. Clone it"):
        new_recipe.main(["my_corpus"])

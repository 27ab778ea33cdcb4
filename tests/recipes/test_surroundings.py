"""All stages where a machine has odd names and few means, and where a folder cannot be written.

One run of the nano recipe serves all tests here.
"""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPTIONS = ["--train_config", "conf/train_nano.yaml", "--test_snrs", "0"]
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
pytestmark = pytest.mark.slow


def run(recipe: Path, *options: str, before=(), most_files=None) -> subprocess.CompletedProcess:
    """Run stages of a copy of the recipe, in its folder."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    surroundings = {**os.environ, "MOME_ENV": "none", "PATH": path, "PYTHONPATH": str(ROOT)}
    surroundings |= {"LC_ALL": "C", "TMPDIR": "/nonexistent"}
    for name in ("HOME", "LANG", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        surroundings.pop(name, None)

    def limit() -> None:
        if most_files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))

    return subprocess.run(
        [*before, str(recipe / "run.sh"), *OPTIONS, *options],
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="strict",
        preexec_fn=limit,
        timeout=1500,
        check=False,
    )


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """The mini recipe in a folder whose name is awkward."""
    root = tmp_path_factory.mktemp("clone") / "it's é 日本 [1] $x; #&"
    shutil.copytree(ROOT / "egs", root / "egs", symlinks=True)
    return root / "egs/mini/avsr1"


@pytest.fixture(scope="module")
def whole(recipe) -> subprocess.CompletedProcess:
    """Stages 0 to 6 with 128 files open at most, without HOME and TMPDIR, with LC_ALL=C."""
    return run(recipe, "--stop_stage", "6", most_files=128)


def test_names_few_files_no_home_no_tmpdir_and_the_locale_c_do_no_harm(whole, recipe):
    assert whole.returncode == 0, whole.stdout[-2000:] + whole.stderr[-5000:]
    assert "Traceback" not in whole.stderr
    assert len((recipe / "exp/train_nano/stages.tsv").read_text().splitlines()) == 7
    for name in ("RESULTS.md", "exp/train_nano/report/index.html", "exp/train_nano/packed"):
        assert (recipe / name).exists()


@pytest.mark.parametrize(
    "stage, folder, options",
    [
        (0, ".", []),
        (0, "data", ["--layout", "lrs2"]),
        (1, "dump/mouths/train", ["--landmarks", "centre"]),
        (1, "data", ["--test_noise", "pink", "--video_checks", ""]),
        (2, "dump/feats", ["--train_args", "encoders.store_rate=4"]),
        (3, "exp", ["--tag", "other"]),
        (3, "exp/train_nano", ["--train_args", "train.num_steps=9"]),
        (4, "exp/train_nano", ["--decode_args", "decode.extra_tokens=2"]),
        (5, "exp/train_nano", []),
        (6, "exp/train_nano/packed", ["--include_base"]),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line_and_stays_as_it_was(
    whole, recipe, stage, folder, options, tell
):
    path = recipe / folder
    before = ["unshare", "--mount", "sh", "-c", READ_ONLY, str(path)]
    tried = subprocess.run([*before, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"a folder cannot be mounted to be read only here: {tried.stderr.strip()}")
    files = {p: p.stat().st_mtime_ns for p in sorted(path.rglob("*"))}
    done = run(recipe, *options, "--stage", str(stage), "--stop_stage", str(stage), before=before)
    assert done.returncode != 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.strip().splitlines()
    line = next((line for line in lines if ": error: " in line), lines[-1])
    tell(f"stage {stage}: {folder} cannot be written", line)
    assert folder.split("/")[0] in line or str(path) in line
    assert {p: p.stat().st_mtime_ns for p in sorted(path.rglob("*"))} == files

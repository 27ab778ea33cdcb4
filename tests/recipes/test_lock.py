"""Two runs of a recipe in one folder: one at a time makes what they share, in stages 0 to 2.

The real run.sh runs; commands that would do the work are stand-ins that only wait or only end.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "egs/mini/avsr1"
COMMANDS = """#!/bin/bash
# Stands for python, deepspeed and sbatch. It waits where $WAIT_AT, part of a command, is run.
case "$*" in
  *check_settings*) exec {python} "$@" ;;
  *"$WAIT_AT"*) echo "$*" >> "$STARTED"; exec sleep 60 ;;
  -) cat > /dev/null ;;
esac
"""


@pytest.fixture
def recipe(tmp_path):
    """Starts run.sh in the folder `work`; ends all that is left of it."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "deepspeed", "sbatch"):
        path = tmp_path / "bin" / name
        path.write_text(COMMANDS.format(python=sys.executable))
        path.chmod(0o755)
    runs = []

    def start(*options: str, wait_at: str = "none") -> subprocess.Popen:
        path = f"{tmp_path}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = {"MOME_ENV": "none", "PATH": path, "STARTED": str(tmp_path / "started")}
        options = ["--train_config", "conf/train_nano.yaml", *options]
        run = subprocess.Popen(
            [str(RECIPE / "run.sh"), "--work_dir", str(tmp_path / "work"), *options],
            env={**os.environ, **variables, "WAIT_AT": wait_at},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        runs.append(run)
        return run

    yield start
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


def wait_for(path: Path, number: int = 1) -> None:
    """Until a file has so many lines."""
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_text().count("\n") < number:
        assert time.monotonic() < deadline, f"{path} has not {number} lines"
        time.sleep(0.02)


def end_of(run: subprocess.Popen) -> tuple[int, str]:
    """The status of a run, and what it wrote to stderr."""
    _, errors = run.communicate(timeout=120)
    return run.returncode, errors.strip()


def test_the_second_run_stops_with_a_line_and_a_killed_one_leaves_no_lock(recipe, tmp_path, tell):
    work, started = tmp_path / "work", tmp_path / "started"
    first = recipe("--stage", "2", wait_at="pretrain_video")
    wait_for(started)
    before = sorted(work.rglob("*"))
    status, line = end_of(recipe("--stage", "1"))
    assert status == 1
    line = tell("two runs, the first in stage 2", line)
    assert f"makes data/ and dump/ in {work}: process {first.pid} on " in line
    assert f"(./run.sh --work_dir {work} --train_config conf/train_nano.yaml" in line
    assert sorted(work.rglob("*")) == before
    assert end_of(recipe("--stage", "3"))[0] == 0  # which needs no lock

    first.kill()  # this process alone: its job works on
    first.wait()
    status, line = end_of(recipe("--stage", "1"))
    line = tell("a run that was killed, and jobs of it", line)
    assert status == 1 and "left by a run that was killed" in line
    for job in line.split("process(es)")[1].split(" on ")[0].split():
        os.kill(int(job), signal.SIGKILL)
    assert end_of(recipe("--stage", "0")) == (0, "")


def test_systems_train_side_by_side_and_lists_and_slurm_lock_themselves_out_never(recipe, tmp_path):
    runs = [recipe("--tag", tag, "--stage", "3", wait_at="mome.bin.train") for tag in ("a", "b")]
    wait_for(tmp_path / "started", 2)
    (tmp_path / "list.txt").write_text("one train.seed=2\ntwo train.seed=3\n")
    assert end_of(recipe("--tuning", str(tmp_path / "list.txt"))) == (0, "")
    slurm = ["--cmd_backend", "slurm", "--ngpu", "0"]
    assert end_of(recipe(*slurm)) == (0, "")
    assert [run.poll() for run in runs] == [None, None]


def test_where_files_cannot_be_locked_the_run_goes_on(recipe, tmp_path):
    (tmp_path / "bin/flock").write_text("#!/bin/sh\nexit 71\n")  # as for a file system without
    (tmp_path / "bin/flock").chmod(0o755)
    run = recipe("--stop_stage", "0")
    output, errors = run.communicate(timeout=60)
    assert (run.returncode, errors) == (0, "")
    assert f"dump/.lock cannot be locked: do not start two runs in {tmp_path}/work" in output

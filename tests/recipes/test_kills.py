"""Stages that are killed at random moments leave, when they are run again, what a whole run leaves.

`KILL_SEED=7 python -m pytest -m slow tests/recipes/test_kills.py` takes other moments.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

RECIPE = Path(__file__).parents[2] / "egs/mini/avsr1"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
WITH_TIMES = {  # files that say when or how fast something was, and parts of paths of such
    "RESULTS.md", "stages.tsv", "train.log", "tensorboard", "logs", "report", "figures", "cost",
    ".stamp.json", "latest", ".lock",
}  # fmt: skip
TIMES = {"seconds", "data_wait", "date", "rtf", "commit", "command"}  # keys of JSON files
pytestmark = pytest.mark.slow


def start(work_dir: Path, stage: int) -> subprocess.Popen:
    options = ["--train_config", "conf/train_nano.yaml", "--work_dir", str(work_dir)]
    options += ["--stage", str(stage), "--stop_stage", str(stage), "--test_snrs", "0"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (work_dir.parent / "log").open("a") as log:
        return subprocess.Popen(
            [str(RECIPE / "run.sh"), *options],
            env={**os.environ, "MOME_ENV": "none", "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def finish(work_dir: Path, stage: int) -> float:
    """Run a stage to its end; the seconds it took."""
    before = time.monotonic()
    status = start(work_dir, stage).wait(timeout=3000)
    assert status == 0, (work_dir.parent / "log").read_text()[-3000:]
    return time.monotonic() - before


def kill(run: subprocess.Popen, number: int) -> None:
    """Send a signal to all processes of a run, and wait until all of them have ended."""
    deadline = time.monotonic() + 60
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, number)
        while time.monotonic() < deadline:
            run.poll()  # the leader is our child, and stays until it is asked for
            os.killpg(run.pid, 0)
            time.sleep(0.1)
        os.killpg(run.pid, signal.SIGKILL)  # jobs of a shell ignore Ctrl-C, as in a terminal
    run.wait()


def content(path: Path) -> object:
    """What must be the same in a file: all of it but times."""
    if path.name == "metrics.jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if "data_wait" not in line]
    if path.name == "done.jsonl":  # in the order in which jobs ended; the second value has times
        lines = [json.loads(line) for line in path.read_text().splitlines() if line]
        return {name: result for name, _, result in lines}
    if path.name == "config.yaml":  # its first line says how long a layer of the LLM took
        return [line for line in path.read_text().splitlines() if not line.startswith("# the LLM")]
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    if path.suffix == ".pt":  # two states with the same numbers may differ in their bytes
        state = torch.load(path, map_location="cpu", weights_only=False)
        return {k: v.float().sum().item() for k, v in state.get("module", {}).items()}
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return value


def contents(work_dir: Path) -> dict[str, object]:
    """The content of every file of a work directory whose content does not depend on times."""
    found = {}
    for path in sorted(work_dir.rglob("*")):
        parts = path.relative_to(work_dir).parts
        if path.is_file() and not set(parts) & WITH_TIMES:
            found["/".join(parts)] = content(path)
    return found


def test_killed_at_random_moments_every_stage_ends_as_if_it_had_not_been(tmp_path):
    seed = int(os.environ.get("KILL_SEED", "0"))
    rng = random.Random(seed)
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    took = [finish(work_dir, stage) for stage in range(6)]
    work_dir.rename(tmp_path / "whole")  # paths are in some files: both have the same ones
    whole = contents(tmp_path / "whole")
    work_dir.mkdir()
    moments = []
    for stage, seconds in enumerate(took):
        for number in rng.sample(SIGNALS, 2):
            moment = rng.uniform(0, seconds)
            moments.append(f"stage {stage}, {signal.Signals(number).name}, {moment:.1f} s")
            run = start(work_dir, stage)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(timeout=moment)
            kill(run, number)
        finish(work_dir, stage)
    print(f"seed {seed}: " + "; ".join(moments))
    killed = contents(work_dir)
    assert len(whole) > 100 and any(name.endswith("best/model.safetensors") for name in whole)
    left_over = {name for name in killed.keys() - whole.keys() if not name.endswith(".tmp")}
    assert not left_over and not whole.keys() - killed.keys(), moments
    differ = [name for name in whole if killed[name] != whole[name]]
    assert not differ, f"{'; '.join(moments)}: {', '.join(differ)} differ"

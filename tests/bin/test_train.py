"""Whole training runs of a baby LLM: killed and resumed, stopped, in two processes, under ZeRO.

Those that are killed or stopped are started by DeepSpeed's launcher, the others without it.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import assert_same_training, baby_recipe, is_running, metrics

from mome import checkpoint
from mome.bin import train as train_command

ARGS = ["--config", "train.yaml", "--train_set", "dump/feats/train"]
ARGS += ["--valid_set", "dump/feats/valid", "--exp_dir"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A folder with a baby LLM, features of a few utterances, and a configuration."""
    return baby_recipe(tmp_path_factory.mktemp("recipe"))


def environment(**variables: object) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ours = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PATH": path}
    ours["PYTHONFAULTHANDLER"] = "1"  # with SIGABRT a process shows where it is
    return {**os.environ, **ours, **{name: str(value) for name, value in variables.items()}}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("", 0))
        return s.getsockname()[1]


def launch(root: Path, exp: str, *more: str, processes: int = 1) -> subprocess.Popen:
    """Start a run as a user does, by DeepSpeed's launcher."""
    command = [str(Path(sys.executable).parent / "deepspeed"), "--num_gpus", str(processes)]
    command += ["--master_port", str(free_port()), "--module", "mome.bin.train"]
    return start([*command, *ARGS, exp, *more], root, environment())


def start(command: list[str], root: Path, env: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=root,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def train(root: Path, exp: str, *more: str, processes: int = 1) -> str:
    """Run a training run to its end, without the launcher; its output, of all processes."""
    command = [sys.executable, "-m", "mome.bin.train", *ARGS, exp, *more]
    shared = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    runs = [
        start(command, root, environment(RANK=rank, LOCAL_RANK=rank, **shared))
        for rank in range(processes)
    ]
    return output_of(*runs)


def output_of(*runs: subprocess.Popen) -> str:
    """The output of all these processes, which must end well. Who hangs shows where."""
    watch = threading.Timer(300, abort, runs)
    watch.start()
    with ThreadPoolExecutor(len(runs)) as readers:  # together: one may wait for another's reader
        outputs = list(readers.map(lambda run: run.communicate()[0], runs))
    watch.cancel()
    ends = [
        f"exit status {r.returncode}: {out[-5000:]}" for r, out in zip(runs, outputs, strict=True)
    ]
    assert all(run.returncode == 0 for run in runs), "\n".join(ends)
    return "".join(outputs)


def abort(*runs: subprocess.Popen) -> None:
    """End processes and their children with SIGABRT."""
    for run in runs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGABRT)


def wait_for_steps(run: subprocess.Popen, exp_dir: Path, number: int) -> None:
    path = exp_dir / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not path.exists() or sum('"loss"' in x for x in path.read_text().splitlines()) < number:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_in_the_middle_and_resumed_it_gives_the_same_losses(recipe):
    output = train(recipe, "exp/whole", "--resume")
    whole = metrics(recipe / "exp/whole")
    assert [m["step"] for m in whole if "loss" in m] == list(range(1, 13))

    run = launch(recipe, "exp/killed", "--resume")
    wait_for_steps(run, recipe / "exp/killed", 6)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    log = output_of(launch(recipe, "exp/killed", "--resume"))
    assert "resumed after step 4" in log or "resumed after step 8" in log
    assert metrics(recipe / "exp/killed") == whole

    folders = sorted(p.name for p in (recipe / "exp/whole/checkpoints").iterdir() if p.is_dir())
    assert folders == ["step_12", "step_8"]  # older ones are pruned
    size = sum(p.stat().st_size for p in (recipe / "exp/whole/best").iterdir())
    assert size < 200_000  # trained weights alone
    lines = (recipe / "exp/whole/train.log").read_text()
    assert "DeepSpeed info" in lines and "DeepSpeed info" not in output
    assert "validation loss" in lines and "validation loss" in output

    assert "nothing to do" in train(recipe, "exp/whole", "--resume")
    log = train(recipe, "exp/whole", "--resume", "train.num_steps=14")
    assert "resumed after step 12" in log
    assert [m["step"] for m in metrics(recipe / "exp/whole") if "loss" in m] == list(range(1, 15))
    log = train(recipe, "exp/whole", "--resume", "train.num_steps=4", "train.lr=2e-2")
    assert "is kept as" in log and "train.lr" in log
    log = train(recipe, "exp/whole", "--resume", "train.num_steps=14")
    assert "was trained with these settings before" in log and "nothing to do" in log


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_number_of_workers_changes_nothing_when_the_main_process_is_killed(recipe, num_workers):
    if not (recipe / "exp/whole/metrics.jsonl").exists():
        train(recipe, "exp/whole", "--resume")
    exp, settings = f"exp/workers{num_workers}", ["--resume", f"train.data_workers={num_workers}"]
    shared = {"WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [sys.executable, "-m", "mome.bin.train", *ARGS, exp, *settings]
    run = start(command, recipe, environment(RANK=0, LOCAL_RANK=0, **shared))
    wait_for_steps(run, recipe / exp, 6)
    workers = children_of(run.pid)
    assert len(workers) >= num_workers
    run.kill()  # this process alone
    run.communicate(timeout=10)  # workers that were left would hold its output open
    deadline = time.monotonic() + 10  # a process ends a moment after it has closed its output
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline, f"workers {workers} are left"
        time.sleep(0.05)
    log = train(recipe, exp, "--resume")  # with another number of workers
    assert "resumed after step 4" in log or "resumed after step 8" in log
    assert metrics(recipe / exp) == metrics(recipe / "exp/whole")[:15]  # steps and validations


def test_an_unreadable_archive_ends_a_run_with_one_line(recipe, tell):
    copy = recipe / "dump/feats/broken"
    shutil.copytree(recipe / "dump/feats/train", copy)
    (copy / "video.ark").write_bytes((copy / "video.ark").read_bytes()[:2000])
    scp = (copy / "video.scp").read_text().replace("feats/train", "feats/broken")
    (copy / "video.scp").write_text(scp)
    command = [sys.executable, "-m", "mome.bin.train", *ARGS, "exp/broken"]
    command += ["--train_set", str(copy), "train.data_workers=1", "train.ctc_warmup.num_steps=0"]
    shared = {"WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    run = start(command, recipe, environment(RANK=0, LOCAL_RANK=0, **shared))
    output = run.communicate(timeout=100)[0]
    assert run.returncode == 1 and "Traceback" not in output, output[-3000:]
    assert re.fullmatch(
        r"mome train: error: \S+/broken is not a valid feature directory: video.scp, line \d+: "
        r"s\d-\d+.*broken/video.ark ends at byte 2000, before .*run stage 2 of the recipe again",
        tell("an archive that was cut off", output.splitlines()[-1]),
    )


def test_sigterm_saves_and_the_next_run_continues(recipe):
    settings = ["--resume", "train.save_every=100", "train.valid_every=100", "train.num_steps=30"]
    run = launch(recipe, "exp/stopped", *settings, processes=2)
    wait_for_steps(run, recipe / "exp/stopped", 3)
    os.killpg(run.pid, signal.SIGTERM)  # as a cluster does: to all of the job
    log = run.communicate(timeout=100)[0]
    assert run.returncode != 0
    assert "stopped by SIGTERM after step" in log, log[-3000:]
    step = len(metrics(recipe / "exp/stopped"))
    assert 3 <= step < 30
    log = train(recipe, "exp/stopped", *settings, processes=2)
    assert f"resumed after step {step}" in log
    steps = [m["step"] for m in metrics(recipe / "exp/stopped") if "loss" in m]
    assert steps == list(range(1, 31))


@pytest.mark.slow
def test_when_the_first_process_is_refused_the_other_says_nothing(recipe, tmp_path, tell):
    (recipe / "exp").mkdir(exist_ok=True)
    shared = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    shared["MOME_ERROR_FILE"] = tmp_path / "errors"
    with (recipe / "exp/.held.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runs = [
            start(
                [sys.executable, "-m", "mome.bin.train", *ARGS, "exp/held"],
                recipe,
                environment(RANK=rank, LOCAL_RANK=rank, **shared),
            )
            for rank in range(2)
        ]
        outputs = [run.communicate(timeout=200)[0] for run in runs]
    assert [run.returncode for run in runs] == [1, 1]
    assert "Traceback" not in outputs[0] + outputs[1]
    line = tell("two processes, a folder in use", (tmp_path / "errors").read_text())
    assert line.startswith("mome train: error: exp/held is being trained by another process")


COMPARED = ["train.num_steps=4", "train.scales_per_step=0", "model.llm_dtype=float32"]
COMPARED += ["train.lr=3e-3"]  # at 1e-2 the steps overshoot, and rounding grows


@pytest.fixture(scope="module")
def one_process(recipe) -> Path:
    """The experiment of one process, with two batches a step."""
    train(recipe, "exp/one", *COMPARED)
    return recipe / "exp/one"


@pytest.mark.parametrize("zero, recompute", [(0, False), (1, False), (2, True), (3, False)])
def test_two_processes_train_as_one_with_twice_the_batches(recipe, one_process, zero, recompute):
    settings = [*COMPARED, f"train.deepspeed=zero{zero}.json", "train.accumulation=1"]
    settings += [f"train.gradient_checkpointing={recompute}".lower()]
    exp = f"exp/two{zero}"
    train(recipe, exp, *settings, processes=2)
    log = (recipe / exp / "train.log").read_text()
    count, held = map(float, re.search(r"LLM: ([\d.]+)M weights, ([\d.]+)M held", log).groups())
    assert held == pytest.approx(count / 2 if zero == 3 else count, rel=0.01)
    assert_same_training(one_process, recipe / exp)


@pytest.mark.parametrize("zero", [0, 3])
def test_routers_can_learn_more_slowly_or_not_at_all(recipe, zero):
    settings = [*COMPARED, f"train.deepspeed=zero{zero}.json", "train.router_lr_factor=0"]
    train(recipe, f"exp/routers{zero}", *settings)
    before, after = (
        checkpoint.read(recipe / f"exp/routers{zero}" / name) for name in ("warmup", "best")
    )
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if ".router." in name} != set()


IN_BF16 = {  # with ZeRO 0 DeepSpeed's Adam counts from its second step on, and differs at first
    "zero1": ["train.deepspeed=zero1.json"],
    "zero3": ["train.deepspeed=zero3.json", "train.gradient_checkpointing=true"],
    "8bit": ["train.deepspeed=zero2.json", "model.quantise=8bit"],
    "4bit": ["train.deepspeed=zero1.json", "model.quantise=4bit"],
}


@pytest.mark.parametrize("kind", IN_BF16)
def test_in_bfloat16_and_quantised_it_trains_alike(recipe, one_process, kind):
    settings = [*COMPARED, "model.llm_dtype=bfloat16", *IN_BF16[kind]]
    log = train(recipe, f"exp/{kind}", *settings)
    assert "frozen LLM: 0.080M weights, 0.080M held by a process, torch.bfloat16" in log
    rows = zip(metrics(one_process), metrics(recipe / f"exp/{kind}"), strict=True)
    for one, other in rows:
        for key in one.keys() & {"loss", "ctc", "valid_loss"}:
            assert other[key] == pytest.approx(one[key], rel=1e-2), (one["step"], key)


def test_a_wrong_setting_and_a_missing_launcher_are_reported(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"no setting called train\.lrr; did you mean train\.lr"):
        train_command.main([*ARGS, "exp/x", "train.lrr=1"])
    with pytest.raises(ValueError, match=r"RANK, .* deepspeed --num_gpus 1 --module mome\.bin"):
        train_command.main([*ARGS, "exp/x"])
    assert not (recipe / "exp/x").exists()

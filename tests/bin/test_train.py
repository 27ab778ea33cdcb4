"""The real launcher on a baby LLM: what a user's training does, killed and resumed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import assert_same_training, baby_recipe, metrics

from mome import checkpoint


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A folder with a baby LLM, features of a few utterances, and a configuration."""
    return baby_recipe(tmp_path_factory.mktemp("recipe"))


def command(exp: str, *more: str, processes: int = 1) -> list[str]:
    with socket.socket() as s:
        s.bind(("", 0))
        port = s.getsockname()[1]
    launcher = [str(Path(sys.executable).parent / "deepspeed"), "--num_gpus", str(processes)]
    launcher += ["--master_port", str(port), "--module", "mome.bin.train", "--config", "train.yaml"]
    sets = ["--train_set", "dump/feats/train", "--valid_set", "dump/feats/valid"]
    return [*launcher, "--exp_dir", exp, *sets, *more]


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PATH": path}


def train(root: Path, exp: str, *more: str, processes: int = 1) -> str:
    done = subprocess.run(
        command(exp, *more, processes=processes),
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def test_killed_in_the_middle_and_resumed_it_gives_the_same_losses(recipe):
    train(recipe, "exp/whole", "--resume")
    whole = metrics(recipe / "exp/whole")
    assert [m["step"] for m in whole if "loss" in m] == list(range(1, 13))

    process = subprocess.Popen(
        command("exp/killed", "--resume"),
        cwd=recipe,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    path = recipe / "exp/killed/metrics.jsonl"
    deadline = time.monotonic() + 120
    while not path.exists() or sum('"loss"' in x for x in path.read_text().splitlines()) < 6:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    log = train(recipe, "exp/killed", "--resume")
    assert "resumed after step 4" in log or "resumed after step 8" in log
    assert metrics(recipe / "exp/killed") == whole

    folders = sorted(p.name for p in (recipe / "exp/whole/checkpoints").iterdir() if p.is_dir())
    assert folders == ["step_12", "step_8"]  # older ones are pruned
    size = sum(p.stat().st_size for p in (recipe / "exp/whole/best").iterdir())
    assert size < 200_000  # trained weights alone

    assert "nothing to do" in train(recipe, "exp/whole", "--resume")
    log = train(recipe, "exp/whole", "--resume", "train.num_steps=14")
    assert "resumed after step 12" in log
    log = train(recipe, "exp/whole", "--resume", "train.num_steps=4", "train.lr=2e-2")
    assert "is kept as" in log and "train.lr" in log
    log = train(recipe, "exp/whole", "--resume", "train.num_steps=14")
    assert "was trained with these settings before" in log and "nothing to do" in log

    start = ["train.ctc_warmup.num_steps=0", "train.ctc_warmup.start_from=exp/killed/warmup"]
    train(recipe, "exp/started", *start, "model.adapter=plain", "train.num_steps=1", "train.lr=0")
    warm, started = (
        checkpoint.read(recipe / f"exp/{x}") for x in ("killed/warmup", "started/best")
    )
    names = [n for n in warm if n.startswith(("projectors.", "prompt."))]
    assert names and all(torch.equal(warm[n].to(started[n]), started[n]) for n in names)


def test_sigterm_saves_and_the_next_run_goes_on(recipe):
    settings = ["--resume", "train.save_every=100", "train.valid_every=100", "train.num_steps=60"]
    process = subprocess.Popen(
        command("exp/stopped", *settings, processes=2),
        cwd=recipe,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    path = recipe / "exp/stopped/metrics.jsonl"
    deadline = time.monotonic() + 120
    while not path.exists() or len(path.read_text().splitlines()) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)  # as a cluster does: to all of the job
    log = process.communicate(timeout=100)[0]
    assert process.returncode != 0
    assert "stopped by SIGTERM after step" in log, log[-3000:]
    step = len(metrics(recipe / "exp/stopped"))
    assert 3 <= step < 60
    log = train(recipe, "exp/stopped", *settings, processes=2)
    assert f"resumed after step {step}" in log
    steps = [m["step"] for m in metrics(recipe / "exp/stopped") if "loss" in m]
    assert steps == list(range(1, 61))


COMPARED = ["train.num_steps=4", "train.scales_per_step=0", "model.llm_dtype=float32"]


@pytest.fixture(scope="module")
def one_process(recipe) -> Path:
    """The experiment of one process, with two batches a step."""
    train(recipe, "exp/one", *COMPARED)
    return recipe / "exp/one"


@pytest.mark.parametrize("zero, more", [(0, ""), (1, ""), (2, ""), (3, ""), (0, "recompute")])
def test_two_processes_train_as_one_with_twice_the_batches(recipe, one_process, zero, more):
    settings = [*COMPARED, f"train.deepspeed=zero{zero}.json", "train.accumulation=1"]
    settings += [f"train.gradient_checkpointing={bool(more)}".lower()]
    exp = f"exp/two{zero}{more}"
    train(recipe, exp, *settings, processes=2)
    log = (recipe / exp / "train.log").read_text()
    count, held = map(float, re.search(r"LLM: ([\d.]+)M weights, ([\d.]+)M held", log).groups())
    assert held == pytest.approx(count / 2 if zero == 3 else count, rel=0.01)
    assert_same_training(one_process, recipe / exp)


IN_BF16 = {  # with ZeRO 0 DeepSpeed's Adam counts from its second step on, and differs at first
    "zero1": ["train.deepspeed=zero1.json"],
    "zero3": ["train.deepspeed=zero3.json", "train.gradient_checkpointing=true"],
    "8bit": ["train.deepspeed=zero2.json", "model.quantise=8bit"],
    "4bit": ["train.deepspeed=zero1.json", "model.quantise=4bit"],
}


@pytest.mark.parametrize("kind", IN_BF16)
def test_in_bfloat16_and_in_few_bits_it_trains_alike(recipe, one_process, kind):
    settings = [*COMPARED, "model.llm_dtype=bfloat16", *IN_BF16[kind]]
    log = train(recipe, f"exp/{kind}", *settings)
    assert "frozen LLM: 0.080M weights, 0.080M held by a process, torch.bfloat16" in log
    rows = zip(metrics(one_process), metrics(recipe / f"exp/{kind}"), strict=True)
    for one, other in rows:
        for key in one.keys() & {"loss", "ctc", "valid_loss"}:
            assert other[key] == pytest.approx(one[key], rel=1e-2), (one["step"], key)


def test_few_bits_are_not_shared_out(recipe):
    settings = ["model.quantise=4bit", "train.deepspeed=zero3.json"]
    done = subprocess.run(
        command("exp/few", *settings), cwd=recipe, env=environment(), capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "ZeRO 3 cannot share out an LLM in few bits (model.quantise=4bit)" in done.stderr


def test_without_the_launcher_it_says_how_to_start(recipe):
    done = subprocess.run(
        [sys.executable, "-m", *command("exp/x")[6:]],
        cwd=recipe,
        env={k: v for k, v in environment().items() if k != "RANK"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "deepspeed --num_gpus 1 --module mome.bin.train" in done.stderr.splitlines()[-1]

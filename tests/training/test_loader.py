"""Reading ahead: the same batches whoever reads them, errors in one line, no worker left behind."""

import operator
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from conftest import is_running

from mome.data.dataset import Sampler
from mome.training import forks, loader
from mome.training.loader import ReadAhead, count_workers

CPU = torch.device("cpu")


def draws(data) -> list:
    lengths = [data.length(i) for i in range(len(data))]
    sampler = Sampler(lengths, 120, 0, num_noisy=1, noisy_share=0.5, scales=("a4_v2", "a16_v5"))
    steps = sampler.steps()
    return [batch for _ in range(6) for batch in next(steps)]


def assert_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        same = torch.equal if isinstance(value, torch.Tensor) else operator.eq
        assert same(value, other[key]), key


@pytest.mark.parametrize("num_workers", ["0", "1", "2"])
def test_workers_give_the_batches_in_the_order_of_the_draws(features, num_workers):
    data = features["train"]
    drawn = draws(data)
    found = list(ReadAhead(data, drawn, num_workers, CPU))
    assert len(found) == len(drawn) == 6
    for batch, (picks, scales) in zip(found, drawn, strict=True):
        assert_same(batch, data.collate(picks) | {"scales": scales})


def test_a_list_can_be_read_again(features):
    ahead = ReadAhead(features["valid"], draws(features["valid"]), "1", CPU)
    first, second = list(ahead), list(ahead)
    for one, other in zip(first, second, strict=True):
        assert_same(one, other)


def test_reading_ahead_leaves_the_global_random_numbers_alone(features):
    before = torch.get_rng_state()
    list(ReadAhead(features["train"], draws(features["train"]), "1", CPU))
    assert torch.equal(torch.get_rng_state(), before)


def test_sigterm_ends_no_worker_that_is_not_ready_yet(features, monkeypatch):
    """A worker has the signal blocked from its first moment on, and its parent as before."""
    monkeypatch.setattr(loader, "start_worker", lambda _: forks.has_started())  # and no more
    others = psutil.Process().children()  # of other tests
    batches = iter(ReadAhead(features["train"], draws(features["train"]), "1", CPU))
    next(batches)
    (worker,) = set(psutil.Process().children()) - set(others)
    (mask,) = re.findall(r"SigBlk:\t(\w+)", Path(f"/proc/{worker.pid}/status").read_text())
    assert int(mask, 16) >> (signal.SIGTERM - 1) & 1
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    batches.close()


@pytest.mark.parametrize("num_workers", ["0", "2"])
def test_an_unreadable_archive_is_one_line_that_names_utterance_and_file(features, num_workers):
    data = features["train"]
    drawn = draws(data)
    bad = data.utterances[drawn[3][0][0].index]
    ark_path = Path(data.source.scps["video"][bad].rpartition(":")[0])
    data.source.scps["video"][bad] = f"{ark_path}:3"
    batches = iter(ReadAhead(data, drawn, num_workers, CPU))
    for _ in range(3):
        next(batches)
    with pytest.raises(ValueError) as error:
        next(batches)
    message = str(error.value)
    assert bad in message and str(ark_path) in message and "\n" not in message


def test_the_time_that_batches_are_waited_for_is_measured(features, monkeypatch):
    data = features["train"]
    read = data.read
    monkeypatch.setattr(data, "read", lambda picks: time.sleep(0.05) or read(picks))
    ahead = ReadAhead(data, draws(data), "0", CPU)
    list(ahead)
    assert 0.3 <= ahead.seconds_waited() < 10 and ahead.seconds_waited() == 0
    ahead = ReadAhead(data, draws(data), "1", CPU)
    batches = iter(ahead)
    next(batches)
    ahead.seconds_waited()
    time.sleep(1.0)  # a step
    next(batches)
    assert ahead.seconds_waited() < 0.05


def test_auto_leaves_a_core_to_the_main_process(monkeypatch):
    def count(cores: int, processes: int, device: str) -> int:
        monkeypatch.setattr(loader.os, "sched_getaffinity", lambda _: set(range(cores)))
        monkeypatch.setenv("LOCAL_SIZE", str(processes))
        return count_workers("auto", torch.device(device))

    assert [count(*x) for x in ((2, 1, "cpu"), (1, 1, "cpu"), (2, 2, "cpu"))] == [1, 0, 0]
    assert [count(*x) for x in ((64, 1, "cpu"), (64, 8, "cuda"), (16, 8, "cuda"))] == [1, 4, 1]
    assert count_workers("0", CPU) == 0 and count_workers("7", CPU) == 7


ORPHAN = """
import os, signal, sys, time
import torch
from mome.training.loader import ReadAhead

class Source:
    encoded = staticmethod(lambda batch: batch)

class Data:
    source = Source()
    def read(self, picks):
        print(os.getpid(), flush=True)
        if len(sys.argv) > 1:
            time.sleep(100)
        return {}

batches = iter(ReadAhead(Data(), [([], None)] * 100, "2", torch.device("cpu")))
next(batches)
print("reading", flush=True)
time.sleep(100)
"""


STUCK = """
import os, sys, time
import torch
from mome.training import forks
from mome.training.loader import ReadAhead

class Source:
    encoded = staticmethod(lambda batch: batch)

class Data:
    source = Source()
    def read(self, picks):
        return {"picks": picks}

def stick():  # as a lock would that a thread of the parent held
    if os.read(reader, 1) == b"1":
        time.sleep(1000)

reader, writer = os.pipe()
os.write(writer, sys.argv[1].encode())  # a character for each child
os.register_at_fork(after_in_child=stick)
forks.SECONDS_TO_START = 3
for batch in ReadAhead(Data(), [([number], None) for number in range(3)], "2", torch.device("cpu")):
    print(batch["picks"])
"""


@pytest.mark.parametrize("stuck", ["00", "0110"])
def test_a_worker_that_is_stuck_in_its_fork_is_forked_again(stuck):
    command = [sys.executable, "-c", STUCK, stuck]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout == "[0]\n[1]\n[2]\n", run.stderr
    assert run.stderr.count("did not start within 3 s: killed, forked anew") == stuck.count("1")


def test_when_no_worker_starts_an_error_says_what_to_do():
    command = [sys.executable, "-c", STUCK, "111"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "3 forked processes did not start within 3 s each" in run.stderr.splitlines()[-1]
    assert "train.data_workers=0" in run.stderr.splitlines()[-1]


@pytest.mark.parametrize("busy", [[], ["busy"]])
def test_a_killed_run_leaves_no_worker_and_sigterm_ends_none_before_it(busy):
    run = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, *busy], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    workers: set[int] = set()
    while len(workers) < 2:
        line = run.stdout.readline()
        assert line
        workers |= {int(line)} if line.strip().isdigit() else set()
    assert run.pid not in workers
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    time.sleep(0.2)
    assert run.poll() is None and all(map(is_running, workers))
    run.kill()
    run.wait()
    deadline = time.monotonic() + 2
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(is_running, workers))

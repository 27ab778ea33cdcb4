"""Batches by length: each clip once, little padding; files are read ahead; progress."""

import threading
import time

import numpy as np
import pytest
import torch

from mome.data import batches, progress
from mome.data.batches import encode, read_ahead, similar_lengths


def test_batches_hold_every_clip_once_and_no_more_than_fit():
    rng = np.random.default_rng(0)
    lengths = {f"u{k}": float(x) for k, x in enumerate(rng.uniform(1, 6, 500))}
    formed = similar_lengths(lengths, 15.0)
    assert sorted(u for batch in formed for u in batch) == sorted(lengths)
    padded = [len(batch) * max(lengths[u] for u in batch) for batch in formed]
    assert max(padded) <= 15.0
    assert sum(padded) < 1.02 * sum(lengths.values())  # little of it is padding
    assert np.mean(padded) > 12  # and batches are full
    assert formed == similar_lengths(dict(reversed(lengths.items())), 15.0)  # whatever the order


def test_a_clip_longer_than_a_batch_is_alone():
    formed = similar_lengths({"a": 1.0, "long": 40.0, "b": 1.0}, 15.0)
    assert sorted(map(sorted, formed)) == [["a", "b"], ["long"]]


def test_every_nth_batch_is_a_fair_share():
    rng = np.random.default_rng(1)
    lengths = {f"u{k}": float(x) for k, x in enumerate(rng.uniform(1, 6, 2000))}
    formed = similar_lengths(lengths, 15.0)
    shares = [sum(lengths[u] for batch in formed[k::4] for u in batch) for k in range(4)]
    assert max(shares) < 1.05 * min(shares)


def test_the_next_batches_are_read_while_one_is_worked_on_and_no_more():
    names = [[f"{k}a", f"{k}b"] for k in range(10)]
    started: list[str] = []

    def read(name: str) -> str:
        started.append(name)
        return name.upper()

    ahead = read_ahead(read, names, num_threads=2)
    for k, (batch, found) in enumerate(ahead):
        assert batch == names[k] and found == [name.upper() for name in batch]
        expected = min(2 * (k + 1 + batches.AHEAD), 20)
        end = time.monotonic() + 10
        while len(started) < expected and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.05)  # what is not to be read would be by now
        assert len(started) == expected
    assert sorted(started) == sorted(name for batch in names for name in batch)


def test_a_clip_that_cannot_be_read_is_named_and_ends_the_readers():
    def read(name: str) -> str:
        if name == "c":
            raise FileNotFoundError("c.mp4 does not exist")
        return name

    num_threads = threading.active_count()
    with pytest.raises(ValueError, match=r"c cannot be encoded: c\.mp4 does not exist"):
        list(read_ahead(read, [["a"], ["b", "c"], ["d"]], 2))
    assert threading.active_count() == num_threads


def double(clips: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(2 * clip[:, None]) for clip in clips]


def test_each_clip_gets_its_own_frames_and_those_without_input_are_left_out():
    clips = {f"u{n}": np.arange(n, dtype=np.float32) + 10 * n for n in range(1, 8)}
    formed = [["u3", "u5"], ["u7"], ["u1", "u2", "u4", "u6"]]
    read = {**clips, "u7": None, "u2": None}.get
    found = dict(encode(double, read, formed, "some set"))
    assert list(found) == ["u3", "u5", "u1", "u4", "u6"]
    for name, frames in found.items():
        np.testing.assert_array_equal(frames, 2 * clips[name][:, None])


def test_an_error_of_the_encoder_names_the_clips_of_the_batch():
    def fail(clips: list) -> list:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory") as error:
        list(encode(fail, lambda name: np.zeros(3), [["u1", "u2"]], "some set"))
    assert error.value.__notes__ == ["while these clips were encoded: u1 u2"]


def test_progress_counts_the_clips_of_a_job(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(progress, "EVERY_S", 0)
    encoder = lambda clips: [torch.zeros(2, 3) for _ in clips]  # noqa: E731
    lists = [["a", "b"], ["c"]]
    found = dict(encode(encoder, lambda name: np.zeros(3), lists, "train audio", (1, 2)))
    assert list(found) == ["a", "b", "c"]
    assert [message.rsplit(",", 1)[0] for message in caplog.messages] == [
        f"train audio 1/2: {n} of 3 clips" for n in (2, 3)
    ]

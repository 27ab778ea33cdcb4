"""Parts of the pretraining of a video encoder: labels of frames, batches, the learning rate."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from mome.avhubert import AVHuBERTConfig
from mome.training import video_encoder
from mome.training.video_encoder import (
    Clip,
    Schedule,
    VideoSet,
    batches,
    collate,
    frame_phones,
    one_cycle,
    phone_classes,
    train,
)


def test_a_stop_begins_before_its_burst(tmp_path):
    path = tmp_path / "x.phones"
    path.write_text("A: 0.0 0.2\np 0.2 0.3\n_: 0.3 0.4\n")
    names = [phone_classes()[i] for i in frame_phones(path, 10)]
    assert names[:3] == ["A", "A", "A"] and names[4] == "p" and names[8:] == ["_", "_"]
    path.write_text("A: 0.0\n")
    with pytest.raises(ValueError, match="phone start end"):
        frame_phones(path, 10)


def clips_of(lengths: list[int]) -> list[Clip]:
    images = [np.full((n, 96, 96), k, np.uint8) for k, n in enumerate(lengths)]
    return [Clip(x, np.full(len(x), k)) for k, x in enumerate(images)]


def test_an_epoch_has_each_clip_once_in_batches_within_the_budget():
    clips = clips_of([10, 11, 12, 20, 21, 40])
    endless = batches(clips, 40, np.random.default_rng(0), np.random.default_rng(0))
    seen = []
    while len(seen) < len(clips):
        batch = next(endless)
        assert len(batch) * max(len(clip.phones) for clip in batch) <= 40 + 4  # jitter of lengths
        seen += [int(clip.phones[0]) for clip in batch]
    assert sorted(seen) == list(range(len(clips)))


def test_two_processes_get_batches_of_about_the_same_cost_at_the_same_time(monkeypatch):
    lengths = np.random.default_rng(0).integers(20, 80, 400)
    fewest = 118  # of the batches of both
    monkeypatch.setattr(dist, "all_reduce", lambda count, _: count.fill_(fewest))
    costs, seen = [], []
    for rank in range(2):
        own, shared = np.random.default_rng([7, rank]), np.random.default_rng(7)
        endless = batches(clips_of([*lengths[rank::2]]), 120, own, shared, num_jobs=2)
        epoch = [next(endless) for _ in range(fewest)]
        costs.append([len(batch) * max(len(clip.phones) for clip in batch) for batch in epoch])
        seen.append([int(clip.phones[0]) for batch in epoch for clip in batch])
    assert all(len(set(clips)) == len(clips) > 185 for clips in seen), "each once, few left out"
    assert np.max(costs, axis=0).sum() < 1.02 * np.mean(costs, axis=0).sum()
    shuffled = [np.random.default_rng(rank).permutation(c) for rank, c in enumerate(costs)]
    assert np.max(shuffled, axis=0).sum() > 1.05 * np.mean(costs, axis=0).sum(), "what it saves"


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
def test_padding_has_no_label_and_no_image(rng):
    video_B1THW, lengths, phones_BT = collate(clips_of([2, 4]), rng)
    assert video_B1THW.shape == (2, 1, 4, 88, 88) and lengths == [2, 4]
    assert phones_BT.tolist() == [[0, 0, -1, -1], [1, 1, 1, 1]]
    assert not video_B1THW[0, 0, 2:].any() and video_B1THW[0, 0, :2].all()


def test_batches_of_training_end_at_a_multiple_of_four_frames():
    clips, rng = clips_of([9, 11, 3]), np.random.default_rng(0)
    video_B1THW, lengths, phones_BT = collate(clips, rng)
    assert video_B1THW.shape[2] == 8 and lengths == [8, 8, 3]
    assert phones_BT.tolist() == [[0] * 8, [1] * 8, [2] * 3 + [-1] * 5]
    assert video_B1THW[:2].all() and not video_B1THW[2, 0, 3:].any()
    assert collate(clips, None)[1] == [9, 11, 3]
    assert collate(clips_of([3]), rng)[1] == [3]


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing():
    rates = [one_cycle(step / 100) for step in range(100)]
    assert np.argmax(rates) in (14, 15) and max(rates) == pytest.approx(1, abs=0.02)
    assert rates[0] < 0.02 and rates[-1] < 0.01


@pytest.mark.parametrize("chosen, expected", [(None, "16384"), ("2048", "2048")])
def test_onednn_keeps_the_code_of_more_shapes_unless_the_user_says_how_many(
    monkeypatch, chosen, expected
):
    def stop(*_):
        raise InterruptedError

    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, "2048")  # so that its old value comes back
    if chosen is None:
        monkeypatch.delenv(name)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(video_encoder, "read_clips", stop)
    nothing = VideoSet(Path("none"), Path("none"))
    with pytest.raises(InterruptedError):
        train(0, nothing, nothing, Path("none"), AVHuBERTConfig(), Schedule(1, 1, 1.0, 1), 1)
    assert os.environ[name] == expected

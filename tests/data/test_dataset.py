"""Batches: everyone once and within the budget, and the same after a restart."""

import itertools
import json

import numpy as np
import pytest
import torch

from mome.data import ark
from mome.data.dataset import FeatureDataset, Pick, Sampler, plan
from mome.data.features import Archives


def encode(text: str) -> list[int]:
    return [len(word) for word in text.split()]


@pytest.fixture
def feats(tmp_path):
    rng = np.random.default_rng(0)
    frames = {"s1-a": (20, 10), "s1-b": (33, 17), "s2-a": (50, 25)}
    for name, side, dim in (("audio", 0, 4), ("audio_noisy1", 0, 4), ("video", 1, 3)):
        items = [(u, rng.normal(size=(n[side], dim)).astype(np.float32)) for u, n in frames.items()]
        ark.write_ark(tmp_path / f"{name}.scp", items)
    for name, side in (("utt2num_frames", 0), ("utt2num_video_frames", 1)):
        (tmp_path / name).write_text("".join(f"{u} {n[side]}\n" for u, n in frames.items()))
    (tmp_path / "text").write_text("s1-a one two\ns1-b three\ns2-a four five six\n")
    (tmp_path / "feats.json").write_text(json.dumps({"audio_encoder": "x"}))
    return tmp_path


def test_a_batch_holds_each_utterance_padded(feats):
    data = FeatureDataset(Archives(feats, ["audio", "video"]), encode)
    batch = data.collate([Pick(0, video_kept=False), Pick(2, audio_kept=False)])
    assert batch["utterances"] == ["s1-a", "s2-a"]
    assert batch["audio"].shape == (2, 50, 4) and batch["video"].shape == (2, 25, 3)
    assert batch["audio_lengths"].tolist() == [20, 50]
    assert batch["text"].tolist() == [[3, 3, 0], [4, 4, 3]]
    assert batch["audio_kept"].tolist() == [True, False]
    assert batch["video_kept"].tolist() == [False, True]
    assert not data.collate([0, 1]).keys() & {"audio_kept", "video_kept"}
    stored = ark.load(data.source.scps["audio"]["s1-a"])
    assert torch.equal(batch["audio"][0, :20], torch.from_numpy(stored))


def test_targets_are_text_and_an_eos_for_each_utterance(feats):
    data = FeatureDataset(Archives(feats, ["audio"]), encode)
    assert data.num_targets([Pick(0), Pick(2)]) == 2 + 1 + 3 + 1


def test_a_noisy_copy_replaces_the_audio_alone(feats):
    data = FeatureDataset(Archives(feats, ["audio", "video"]), encode)
    clean, noisy = data.collate([Pick(1)]), data.collate([Pick(1, copy=1)])
    assert not torch.equal(clean["audio"], noisy["audio"])
    assert torch.equal(clean["video"], noisy["video"])
    assert torch.equal(noisy["audio"][0], torch.from_numpy(ark.load(data.source.noisy[0]["s1-b"])))


def test_what_does_not_fit_is_reported_with_the_reason(feats):
    data = FeatureDataset(Archives(feats, ["audio", "video"]), encode)
    reasons = data.unusable(max_frames=20, audio_rate=4, video_rate=12)
    assert reasons.keys() == {"s1-a", "s2-a"}
    assert "video rate 12 needs at least 12 frames, got 10" in reasons["s1-a"]
    assert "25 frames of 40 ms are more than train.max_frames 20" in reasons["s2-a"]


@pytest.mark.parametrize("seed", range(20))
def test_batches_hold_everyone_once_within_the_budget(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 90, 200).tolist()
    for batches in (plan(lengths, 100, rng), plan(lengths, 100, None)):
        assert sorted(itertools.chain(*batches)) == list(range(200))
        assert all(len(b) * max(lengths[i] for i in b) <= 100 for b in batches)
        assert len(batches) < 2.2 * sum(lengths) / 100  # and not needlessly many


def sampler(**settings) -> Sampler:
    lengths = np.random.default_rng(0).integers(20, 90, 50).tolist()
    settings = {"scales": ("a4", "a16"), "scales_per_step": 1, "num_noisy": 2} | settings
    return Sampler(lengths, 300, 0, noisy_share=0.5, audio_dropout=0.3, **settings)


def take(sampler: Sampler, n: int, start: int = 0) -> list:
    return list(itertools.islice(sampler.steps(start), n))


def test_steps_go_on_after_a_restart_as_they_would_have():
    s = sampler(accumulation=2)
    assert take(s, 40)[25:] == take(s, 15, start=25)


def test_devices_and_accumulation_share_one_stream():
    alone = [batch for step in take(sampler(accumulation=6), 4) for batch in step]
    parts = [take(sampler(rank=r, world=3, accumulation=2), 4) for r in range(3)]
    shared = [parts[r][step][a] for step in range(4) for a in range(2) for r in range(3)]
    assert shared == alone


@pytest.mark.parametrize("world", [2, 3, 8])
def test_devices_have_about_as_much_to_do_at_the_same_time(world):
    lengths = np.random.default_rng(0).integers(40, 120, 1805).tolist()
    devices = [Sampler(lengths, 320, 0, rank=r, world=world) for r in range(world)]
    one = [len(plan(lengths, 320, np.random.default_rng([0, epoch]))) for epoch in range(3)]
    assert any(np.cumsum(one)[:2] % world), "epochs end within a step"
    steps = list(zip(*(take(s, -(-sum(one) // world)) for s in devices), strict=True))
    batches = [draw for step in steps for device in step for draw in device]
    stream = [[p.index for p in picks] for picks, _ in batches]
    for begin, end in itertools.pairwise([0, *np.cumsum(one)]):
        assert sorted(itertools.chain(*stream[begin:end])) == [*range(1805)], "each once an epoch"
    cost = np.array([len(b) * (max(lengths[i] for i in b) + 30) for b in stream])
    cost = cost.reshape(-1, world)
    assert cost.max(axis=1).sum() < 1.02 * cost.mean(axis=1).sum()
    shuffled = np.random.default_rng(1).permutation(cost.ravel()).reshape(-1, world)
    assert shuffled.max(axis=1).sum() > 1.05 * cost.mean(axis=1).sum(), "what it saves"
    assert abs(np.corrcoef(cost.mean(axis=1), range(len(cost)))[0, 1]) < 0.15, "in no order"
    restarted = list(itertools.islice(devices[1].steps(90), 20))
    assert restarted == take(devices[1], 110)[90:]


def test_what_is_left_out_is_in_no_batch(feats):
    data = FeatureDataset(Archives(feats, ["audio", "video"]), encode)
    data.leave_out({"s1-b"})
    assert len(data) == 2 and data.collate([0, 1])["utterances"] == ["s1-a", "s2-a"]


def test_what_is_drawn_has_the_asked_shares():
    picks = [(p, s) for step in take(sampler(), 400) for b, s in step for p in b]
    assert np.mean([p.copy > 0 for p, _ in picks]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([p.audio_kept for p, _ in picks]) == pytest.approx(0.7, abs=0.05)
    assert all(p.video_kept for p, _ in picks)
    both = [p for step in take(sampler(video_dropout=0.4), 400) for b, _ in step for p in b]
    assert np.mean([p.audio_kept for p in both]) == pytest.approx(0.7, abs=0.05)
    heard = [p.video_kept for p in both if p.audio_kept]
    assert np.mean(heard) == pytest.approx(0.6, abs=0.05)
    assert all(p.video_kept for p in both if not p.audio_kept), "one stream is always there"
    assert {p.copy for p, _ in picks} == {0, 1, 2}
    assert np.mean([s == ["a4"] for _, s in picks]) == pytest.approx(0.5, abs=0.1)
    assert all(s is None for step in take(sampler(scales_per_step=0), 5) for _, s in step)
    coarse = [s == ["a16"] for step in take(sampler(scale_odds=(1, 3)), 400) for _, s in step]
    assert np.mean(coarse) == pytest.approx(0.75, abs=0.1)


def test_all_batches_of_a_step_have_the_same_scales():
    steps = zip(
        *(take(sampler(rank=r, world=2, accumulation=2), 40) for r in range(2)), strict=True
    )
    drawn = [[s for batches in step for _, s in batches] for step in steps]
    assert all(scales == 4 * scales[:1] for scales in drawn)
    assert {scales[0][0] for scales in drawn} == {"a4", "a16"}


def test_an_epoch_ends_when_each_utterance_has_come_up_once_more():
    s = sampler(accumulation=2, scales_per_step=0)
    batches = [[p.index for p in picks] for step in take(s, 40) for picks, _ in step]
    ends = s.epoch_ends(3)
    for epoch, end in enumerate(ends, start=1):
        seen = np.bincount([i for batch in batches[: 2 * end] for i in batch])
        assert min(seen) == epoch, "everyone was there as often as there were epochs"
        before = np.bincount([i for batch in batches[: 2 * end - 2] for i in batch], minlength=50)
        assert min(before) == epoch - 1, "and one step earlier not yet"
    assert [*map(len, [ends, s.epoch_ends(1)])] == [3, 1] and s.epoch_ends(1)[0] == ends[0]


def test_an_epoch_takes_as_many_batches_on_any_number_of_devices():
    one = sampler().epoch_ends(4)
    assert sampler(world=3, accumulation=2).epoch_ends(4) == [-(-k // 6) for k in one]


def test_the_effective_batch_is_described_in_one_line():
    s = Sampler([100] * 48, 1500, 0, world=8, accumulation=2)  # batches of 15, 15, 15 and 3
    assert s.describe() == (
        "a step: 8 device(s) x 2 batch(es) x at most 1500 frames of 40 ms = 16.0 min of media;"
        " on average 12.8 min in 192.0 utterances, without padding; 0.2 steps an epoch"
    )
    s = sampler(world=2)
    batches = sum(len(step) for r in range(2) for step in take(sampler(world=2, rank=r), 50))
    assert batches == 100 and " = 24.0 s of media; on average " in s.describe()
    frames = sum(s.lengths) / len(plan(s.lengths, 300, np.random.default_rng([0, 0]))) * 2
    assert f"{frames * 0.04:.1f} s in" in s.describe()

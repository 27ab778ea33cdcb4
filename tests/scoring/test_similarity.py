"""Sums of cosines: known cases, and a slow mean over pairs of tokens."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from mome.compression import Scale
from mome.scoring.similarity import WITH, SimilaritySums

FINE, COARSE = Scale(4, 2), Scale(16, 5)
COLUMNS = [(stream, scale) for scale in (FINE, COARSE) for stream in ("audio", "video")]


def states(moments: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(2, len(COLUMNS), moments, 5, generator=generator), dim=-1)


def test_identical_tokens_have_cosine_one_and_orthogonal_ones_zero():
    sums = SimilaritySums([("audio", FINE), ("audio", COARSE)])
    moments = torch.eye(3).expand(1, 2, 3, 3)  # the same tokens in both, another at each moment
    sums.add(moments, None)
    sums.add(moments, moments.roll(1, dims=2))
    found = sums.summary()
    assert found["cosine"]["same_time"] == [[[1, 1], [1, 1]]]
    assert found["cosine"]["other_time"] == [[[0, 0], [0, 0]]]
    assert found["groups"]["audio, two rates"]["other_utterance"] == pytest.approx([1 / 3])


def test_the_means_are_those_over_all_pairs_of_moments():
    utterances = [states(m, seed) for seed, m in enumerate((4, 1, 0, 6))]
    sums = SimilaritySums(COLUMNS)
    pairs = {name: [] for name in WITH}
    before = None
    for x in utterances:
        sums.add(x, before)
        for m, n in itertools.product(range(x.shape[2]), repeat=2):
            name = "same_time" if m == n else "other_time"
            pairs[name].append(torch.einsum("lcd,led->lce", x[:, :, m], x[:, :, n]))
        if before is not None:
            for m, n in itertools.product(range(x.shape[2]), range(before.shape[2])):
                cosine = torch.einsum("lcd,led->lce", x[:, :, m], before[:, :, n])
                pairs["other_utterance"].append(cosine)
        before = x
    found = sums.summary()["cosine"]
    for name in WITH:
        expected = torch.stack(pairs[name]).mean(dim=0)
        torch.testing.assert_close(torch.tensor(found[name]), expected, atol=1e-5, rtol=1e-5)


def test_groups_hold_the_pairs_of_columns_that_their_names_say():
    sums = SimilaritySums(COLUMNS)
    sums.add(states(3, 0), None)
    found = sums.summary()
    assert found["columns"] == ["audio a4_v2", "video a4_v2", "audio a16_v5", "video a16_v5"]
    same = torch.tensor(found["cosine"]["same_time"])
    expected = {
        "audio, two rates": same[:, 0, 2],
        "video, two rates": same[:, 1, 3],
        "audio and video, one scale": (same[:, 0, 1] + same[:, 2, 3]) / 2,
        "audio and video, two scales": (same[:, 0, 3] + same[:, 2, 1]) / 2,
    }
    assert found["groups"].keys() == expected.keys()
    for name, values in expected.items():
        assert found["groups"][name]["same_time"] == pytest.approx(values.tolist())


def test_tokens_of_one_rate_are_not_compared_across_scales():
    sums = SimilaritySums([("audio", Scale(4, 2)), ("audio", Scale(4, 5))])
    sums.add(states(3, 0)[:, :2], None)
    assert sums.summary()["groups"] == {}


def test_without_moments_there_is_nothing_to_say():
    sums = SimilaritySums([("audio", Scale(4, None)), ("audio", Scale(16, None))])
    sums.add(torch.zeros(2, 2, 0, 5), None)
    assert sums.summary()["groups"] == {"audio, two rates": {}}

"""Sums over routers: known cases, and a slow count over tokens."""

import itertools
import math

import pytest
import torch

from mome.scoring.routing import KINDS, RouterSums, chosen_experts, entropy_bits


def random_probs(layers=2, tokens=40, experts=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(layers, tokens, experts, generator=generator).mul(2).softmax(dim=-1)


def summary_of(probs, kinds, num_active=2, scale="a4"):
    sums = RouterSums(num_active)
    sums.add(scale, probs, torch.tensor([KINDS.index(kind) for kind in kinds]))
    return sums.summary()


def test_entropy_is_that_of_known_distributions():
    probs = torch.tensor([[0.5, 0.25, 0.125, 0.125], [1, 0, 0, 0], [0.25] * 4])
    assert entropy_bits(probs).tolist() == pytest.approx([1.75, 0, 2])
    found = summary_of(probs[None], ["audio", "audio", "text"])
    assert found["entropy"] == {
        "audio": pytest.approx([0.875]),
        "text": pytest.approx([2]),
        "all": pytest.approx([1.25]),
    }


def test_the_load_is_counted_by_layer_scale_and_kind():
    kinds = ["audio"] * 10 + ["video"] * 18 + ["text"] * 5 + ["other"] * 7
    sums = RouterSums(2)
    by_scale = {"a4": random_probs(seed=1), "a16": random_probs(seed=2)}
    for scale, probs in by_scale.items():
        for part in (slice(25), slice(25, None)):  # two utterances
            numbers = torch.tensor([KINDS.index(kind) for kind in kinds[part]])
            sums.add(scale, probs[:, part], numbers)
    found = sums.summary()
    for scale, probs in by_scale.items():
        assert found["tokens"][scale] == {
            "audio": 10, "video": 18, "text": 5, "other": 7, "all": 40,
        }  # fmt: skip
        for kind in (*KINDS, "all"):
            places = [n for n, k in enumerate(kinds) if kind in (k, "all")]
            for layer, row in enumerate(found["load"][scale][kind]):
                expected = [0.0] * 6
                for n in places:
                    for expert in sorted(range(6), key=lambda e: -probs[layer, n, e])[:2]:
                        expected[expert] += 1 / len(places)
                assert row == pytest.approx(expected) and sum(row) == pytest.approx(2)


def test_a_balanced_load_has_the_highest_entropy_and_a_router_of_one_set_the_lowest():
    balanced = torch.eye(4)[None] + 0.1 * torch.eye(4).roll(1, 0)[None]
    assert summary_of(balanced, ["audio"] * 4)["load_entropy"] == pytest.approx([2])
    one_set = torch.tensor([0.4, 0.3, 0.2, 0.1]).expand(1, 4, 4)
    found = summary_of(one_set, ["audio"] * 4)
    assert found["load_entropy"] == pytest.approx([1])  # two experts share the load
    assert found["usual_sets"] == [{"experts": [0, 1], "audio": 1, "all": 1}]


def test_the_usual_set_is_that_of_most_tokens_whatever_the_order_of_its_experts():
    sets = [(9, 1), (1, 9), (1, 9), (0, 3), (0, 3)]
    probs = torch.full((1, 5, 10), 0.01)
    for n, (first, second) in enumerate(sets):
        probs[0, n, first], probs[0, n, second] = 0.6, 0.3
    found = summary_of(probs, ["audio", "audio", "text", "text", "text"])["usual_sets"][0]
    assert found == {"experts": [1, 9], "audio": 1, "text": pytest.approx(2 / 3), "all": 0.6}


def test_equal_choices_agree_fully_and_random_ones_as_often_as_chance():
    experts, active, tokens = 6, 2, 20_000
    one, two = (
        chosen_experts(torch.rand(3, tokens, experts, generator=g), active)
        for g in (torch.Generator().manual_seed(k) for k in (0, 1))
    )
    sums = RouterSums(active)
    sums.add("a4", random_probs(layers=3), torch.zeros(40, dtype=torch.long))
    sums.add_pair("audio", ("a4", "a16"), one, one, same=True)
    sums.add_pair("audio", ("a4", "a16"), one, two[:, : tokens - 9], same=False)
    found = sums.summary()["agreement"]["audio"]["a4 a16"]
    assert found["same"] == found["same_equal"] == [1, 1, 1]
    assert found["other"] == pytest.approx([active / experts] * 3, abs=0.01)
    assert found["other_equal"] == pytest.approx([1 / math.comb(experts, active)] * 3, abs=0.01)


def test_agreement_is_the_mean_over_frames_of_the_experts_in_common():
    one, two = (chosen_experts(random_probs(seed=seed), 3) for seed in (3, 4))
    sums = RouterSums(3)
    sums.add("a4", random_probs(), torch.zeros(40, dtype=torch.long))
    for start, end in ((0, 15), (15, 40)):
        sums.add_pair("text", ("a4", "a8"), one[:, start:end], two[:, start:end], same=True)
    found = sums.summary()["agreement"]["text"]["a4 a8"]
    for layer in range(2):
        common = [
            len({*x.nonzero().flatten().tolist()} & {*y.nonzero().flatten().tolist()})
            for x, y in zip(one[layer], two[layer], strict=True)
        ]
        assert found["same"][layer] == pytest.approx(sum(common) / 3 / 40)
        assert found["same_equal"][layer] == pytest.approx(common.count(3) / 40)


def test_more_than_eight_experts_are_told_apart():
    pairs = list(itertools.combinations(range(12), 2))
    probs = torch.zeros(1, len(pairs), 12)
    for n, pair in enumerate(pairs):
        probs[0, n, list(pair)] = 0.5
    found = summary_of(probs, ["text"] * len(pairs))
    assert found["usual_sets"][0]["all"] == pytest.approx(1 / len(pairs))

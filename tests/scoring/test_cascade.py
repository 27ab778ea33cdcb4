"""The threshold of a cascade, and what cascades and oracles of decoded sets give."""

import itertools
import math

import numpy as np
import pytest

from mome.compression import Scale
from mome.scoring import cascade, wer
from mome.scoring.cascade import ALWAYS, Decoded, choose_threshold
from mome.transcription.cascade import NEVER

CHEAP, FINE = Scale(16, 5), Scale(4, 2)  # 8.125 and 25 tokens a second


def decoded(scale, texts, scores=None, refs=None, seconds=6.0, lengths_s=(1, 2, 3)) -> Decoded:
    """A set of clips s<k>-1, each of a speaker of its own."""
    refs = refs or ["a b", "c d", "e f"]
    ids = [f"s{k}-1" for k in range(len(refs))]
    score = wer.score(dict(zip(ids, refs, strict=True)), dict(zip(ids, texts, strict=True)))
    return Decoded(
        "test", scale, {a.utterance: a for a in score.aligned},
        scores and dict(zip(ids, scores, strict=True)), dict(zip(ids, lengths_s, strict=True)),
        seconds, {},
    )  # fmt: skip


def texts_of(system) -> list[str]:
    return [" ".join(a.words(1)) for a in system.score.aligned]


# ---- the threshold ------------------------------------------------------------------------------


def by_brute_force(scores, cheap, fine, gain) -> float:
    """Try every threshold: the lowest one that is good, and below which no higher one is bad."""

    def is_good(threshold):
        errors = sum(f if s < threshold else c for s, c, f in zip(scores, cheap, fine, strict=True))
        return sum(cheap) - errors >= gain * (sum(cheap) - sum(fine)) - 1e-9

    if sum(fine) >= sum(cheap):
        return NEVER
    candidates = sorted({*scores, ALWAYS})
    return min(t for t in candidates if all(is_good(x) for x in candidates if x >= t))


@pytest.mark.parametrize("gain", [0.5, 0.9, 1.0])
def test_the_threshold_is_the_lowest_that_keeps_the_gain_with_all_higher_ones(gain):
    rng, seen = np.random.default_rng(0), set()
    for _ in range(300):
        size = rng.integers(1, 9)
        scores = (-rng.integers(1, 6, size) / 10).tolist()  # some are equal
        cheap, fine = rng.integers(0, 4, (2, size)).tolist()
        found = choose_threshold(scores, cheap, fine, gain)
        assert found == by_brute_force(scores, cheap, fine, gain)
        seen.add(found)
    assert {NEVER, ALWAYS, -0.3} <= seen


def test_a_lucky_dip_does_not_lower_the_threshold():
    """Below -0.8 the cascade has 2 errors, as below -0.2, but 4 in between."""
    scores, cheap, fine = [-0.9, -0.8, -0.3, -0.2], [2, 0, 2, 0], [0, 2, 0, 0]
    assert choose_threshold(scores, cheap, fine, 0.5) == -0.2


# ---- systems ------------------------------------------------------------------------------------


def test_a_small_cascade_by_hand():
    cheap = decoded(CHEAP, ["a x", "x y", "e f"], [-0.2, -0.9, -0.1], seconds=6.0)
    fine = decoded(FINE, ["a b", "c y", "e x"], [-0.1, -0.3, -0.5], seconds=12.0)
    found = cascade.cascaded([cheap, fine], -0.15)
    assert texts_of(found) == ["a b", "c y", "e f"] and found.score.errors == 1
    assert found.twice == pytest.approx(2 / 3)
    assert found.tokens_per_s == pytest.approx(8.125 + 25 * (1 + 2) / 6)
    assert found.seconds == pytest.approx((6 + 12 * 3 / 6) / 3)
    best = cascade.oracle([cheap, fine])
    assert texts_of(best) == ["a b", "c y", "e f"] and best.twice == 0
    assert best.tokens_per_s == pytest.approx((25 * 3 + 8.125 * 3) / 6)  # the last is cheap
    alone = cascade.fixed(cheap)
    assert (alone.score.errors, alone.tokens_per_s, alone.seconds) == (3, 8.125, 2)


def test_the_ends_of_the_threshold_are_the_scales_themselves():
    cheap = decoded(CHEAP, ["a x", "x y", "e f"], [-0.2, -0.9, -0.1])
    fine = decoded(FINE, ["a b", "c y", "e x"], [-0.1, -0.3, -0.5])
    never, always = (cascade.cascaded([cheap, fine], t) for t in (NEVER, ALWAYS))
    assert texts_of(never) == ["a x", "x y", "e f"] and texts_of(always) == ["a b", "c y", "e x"]
    assert (never.tokens_per_s, always.tokens_per_s) == pytest.approx((8.125, 33.125))


def test_three_scales_go_on_until_the_score_is_good():
    middle = decoded(Scale(4, 5), ["m", "m", "m"], [-0.1, -0.9, -0.9])
    steps = [decoded(CHEAP, ["x"] * 3, [-0.9, -0.9, -0.1]), middle, decoded(FINE, ["y"] * 3)]
    assert texts_of(cascade.cascaded(steps, -0.5)) == ["m", "y", "x"]


def test_an_oracle_is_as_good_as_every_scale_and_every_cascade():
    rng = np.random.default_rng(0)
    for _ in range(20):
        words = rng.choice(["a", "b", "c", "d"], (2, 3, 2))
        texts = [[" ".join(pair) for pair in rows] for rows in words]
        scores = (-rng.random((2, 3))).tolist()
        steps = [decoded(s, t, p) for s, t, p in zip((CHEAP, FINE), texts, scores, strict=True)]
        least = cascade.oracle(steps).score.errors
        others = [cascade.fixed(step) for step in steps]
        others += [cascade.cascaded(steps, t) for t in (NEVER, *scores[0], ALWAYS)]
        assert all(least <= other.score.errors for other in others)
        picks = itertools.product(*([s.errors[u] for s in steps] for u in steps[0].aligned))
        assert least == min(map(sum, picks))


def test_held_out_speakers_do_not_choose_their_own_threshold():
    """Without the first speaker, the finer scale saves nothing, so the first is decoded once."""
    cheap = decoded(CHEAP, ["x y", "c d", "e f"], [-0.9, -0.2, -0.1])
    fine = decoded(FINE, ["a b", "c d", "e f"])
    assert cascade.threshold_of(cheap, fine, 0.9) == -0.2
    found = cascade.held_out(cheap, fine, 0.9)
    assert texts_of(found)[0] == "x y"
    one = decoded(CHEAP, ["x"], [-1], ["a"], lengths_s=[1])
    assert cascade.held_out(one, one, 0.9) is None


# ---- decoded sets -------------------------------------------------------------------------------


@pytest.fixture
def exp_dir(tmp_path):
    """exp/x with the set test decoded at a4, and its data directory."""
    folder = tmp_path / "exp/x/decode_a4/test"
    for path, lines in {
        folder / "text": "s1-1 a b\ns1-2 \n",
        folder / "score": "s1-1 -0.25\ns1-2 -2\n",
        folder / "decode.json": '{"data": "data/test", "seconds": 3}',
        tmp_path / "data/test/text": "s1-1 a c\ns1-2 d\n",
        tmp_path / "data/test/utt2spk": "s1-1 s1\ns1-2 s1\n",
        tmp_path / "data/test/utt2dur": "s1-1 1.5\ns1-2 2\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines)
    return tmp_path / "exp/x"


def read(exp_dir, needs_scores=True):
    data_dir = exp_dir.parent.parent / "data"
    return cascade.read(exp_dir, "test", Scale.parse("a4"), data_dir, needs_scores)


def test_a_decoded_set_is_read_with_its_scores(exp_dir):
    found = read(exp_dir)
    assert found.scores == {"s1-1": -0.25, "s1-2": -2.0} and found.seconds == 3
    assert found.errors == {"s1-1": 1, "s1-2": 1} and found.lengths_s["s1-1"] == 1.5
    (exp_dir / "decode_a4/test/score").unlink()
    assert read(exp_dir, needs_scores=False).scores is None


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("text", None, r"test/text is missing: run mome decode .*exp/x --sets test --scales a4$"),
        ("score", None, r"test/score is missing, as in sets decoded by older versions: remove"),
        ("score", "s1-1 -1\ns1-2 x\n", "test/score: s1-2 has 'x', which is no number"),
        ("score", "s1-1 -1\n", r"test/score lacks 1 of 2 utterances \(s1-2\)"),
        ("text", "s1-1 a\n", r"test/text against .*data/test/text: 1 of 2 utterances \(s1-2\)"),
    ],
)
def test_what_is_missing_or_damaged_is_named(exp_dir, name, content, message):
    path = exp_dir / "decode_a4/test" / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        read(exp_dir)


def test_a_table_has_a_row_for_each_system():
    cheap = decoded(CHEAP, ["a x", "x y", "e f"], [-0.2, -0.9, -0.1])
    head, row = cascade.as_table([cascade.cascaded([cheap, cheap], -0.5)])
    assert head == ["set", "system", "WER %", "tokens/s", "s a clip", "twice %"]
    assert row[:2] == ["test", "cascade"] and row[2].startswith("50.0 [") and row[5] == "33"
    assert math.isclose(float(row[3]), 8.125 * (1 + 2 / 6), abs_tol=0.05)

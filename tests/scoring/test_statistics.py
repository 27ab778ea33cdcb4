"""Intervals and paired tests: coverage, a slow bootstrap, segments by hand, NIST sc_stats."""

import re
import subprocess

import numpy as np
import pytest
from conftest import random_texts

from mome.scoring import sclite, statistics, wer


@pytest.fixture
def few_replicates(monkeypatch):
    """A fifth of the usual number, for tests of many sets."""
    monkeypatch.setattr(statistics, "REPLICATES", 2000)


def simulated(rng, num_speakers: int, num_utterances: int, spread: float):
    """Errors, words and speakers of a test set whose speakers differ; and the true error rate."""
    rates = rng.beta(0.2 / spread, 0.8 / spread, num_speakers)  # their mean is 0.2
    words_SU = rng.integers(2, 13, (num_speakers, num_utterances))
    errors_SU = rng.binomial(words_SU, rates[:, None])
    speakers = [f"s{k // num_utterances}" for k in range(words_SU.size)]
    return errors_SU.ravel(), words_SU.ravel(), speakers, 20.0


def share_covered(num_runs: int, as_if_independent: bool = False, **sizes) -> float:
    """How often the interval of a simulated set contains the true error rate."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(num_runs):
        errors, words, speakers, truth = simulated(rng, **sizes)
        if as_if_independent:
            speakers = [str(k) for k in range(len(words))]
        interval = statistics.interval_of(errors, words, speakers)
        covered += interval.low <= truth <= interval.high
    return covered / num_runs


@pytest.mark.parametrize("num_speakers", [8, 16])
def test_intervals_contain_the_true_rate_as_often_as_they_say(num_speakers, few_replicates):
    """Plain quantiles would contain it in 83 to 92 of 100 sets."""
    sizes = {"num_speakers": num_speakers, "num_utterances": 25, "spread": 0.03}
    assert 0.90 <= share_covered(150, **sizes) <= 0.985
    assert share_covered(100, as_if_independent=True, **sizes) < 0.85  # speakers matter


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1e-6, 0.01, 0.1])
@pytest.mark.parametrize("num_speakers", [6, 16, 50])
def test_coverage_in_many_runs(num_speakers, spread, few_replicates):
    sizes = {"num_speakers": num_speakers, "num_utterances": 25, "spread": spread}
    assert 0.90 <= share_covered(1000, **sizes) <= 0.975


def test_intervals_of_like_speakers_are_no_wider_than_those_of_independent_utterances(
    few_replicates,
):
    """Drawing the utterances of a drawn speaker once more would make them 1.4 times as wide."""
    rng = np.random.default_rng(3)
    widths = []
    for _ in range(10):
        errors, words, speakers, _ = simulated(rng, 60, 20, spread=1e-6)
        alone = [str(k) for k in range(len(words))]
        pair = [statistics.interval_of(errors, words, names) for names in (speakers, alone)]
        widths.append([interval.high - interval.low for interval in pair])
    by_speaker, by_utterance = np.mean(widths, axis=0)
    assert 0.9 < by_speaker / by_utterance < 1.1


def test_the_interval_is_that_of_a_bootstrap_written_out():
    rng = np.random.default_rng(1)
    errors, words, speakers, _ = simulated(rng, 12, 5, spread=0.05)
    names = sorted(set(speakers))
    groups = {name: [k for k, s in enumerate(speakers) if s == name] for name in names}
    rates = []
    for _ in range(4000):
        drawn = [k for name in rng.choice(names, len(names)) for k in groups[name]]
        rates.append(100 * sum(errors[drawn]) / sum(words[drawn]))
    rates.sort()
    # Quantiles of Student's t with 11 degrees of freedom, times sqrt(12 / 11), in the normal table.
    tail = 0.0108  # Phi(-2.201 * 1.0445)
    interval = statistics.interval_of(errors, words, speakers)
    spread = np.std(rates)
    assert interval.low == pytest.approx(rates[round(tail * 4000)], abs=0.15 * spread)
    assert interval.high == pytest.approx(rates[-round(tail * 4000)], abs=0.15 * spread)
    assert (interval.drawn, interval.num_drawn) == ("speakers", 12)


def test_sets_of_few_speakers_utterances_or_words():
    texts = {f"s{k % 4}-{k}": "a b c d" for k in range(20)}
    hyps = {u: "a b c d" if k % 3 else "a b c" for k, u in enumerate(texts)}
    interval = statistics.error_rate_interval(wer.score(texts, hyps))
    assert (interval.drawn, interval.num_drawn) == ("utterances", 20)
    assert interval.low < 100 * 7 / 80 < interval.high
    assert statistics.error_rate_interval(wer.score({"a": "x"}, {"a": "y"})) is None
    empty = {"a-1": "", "b-1": ""}
    assert statistics.error_rate_interval(wer.score(empty, {"a-1": "x", "b-1": ""})) is None
    assert statistics.compare(*[wer.score({"a": "x"}, {"a": "y"})] * 2).p == 1


def test_an_interval_does_not_depend_on_the_order_or_the_run():
    refs, hyps = random_texts(1)
    score = wer.score(refs, hyps, {u: u for u in refs})
    again = wer.score(refs, dict(reversed(hyps.items())), {u: u for u in refs})
    assert statistics.error_rate_interval(score) == statistics.error_rate_interval(again)


# ---- paired -------------------------------------------------------------------------------------


def one_of_two_words(seed: int, rate: float, num: int = 300):
    """References of two words, and hypotheses in which the share `rate` of words is wrong."""
    rng = np.random.default_rng(seed)
    refs = {f"s{k % 20}-{k:03}": "a b" for k in range(num)}
    return refs, {u: " ".join(w if rng.random() > rate else "x" for w in "ab") for u in refs}


def test_p_agrees_with_the_interval_and_systems_that_are_alike_differ_in_five_of_a_hundred(
    few_replicates,
):
    found = []
    for seed in range(0, 120, 2):
        refs, hyps = one_of_two_words(seed, 0.3)
        others = one_of_two_words(seed + 1, 0.3)[1]
        pair = statistics.compare(wer.score(refs, hyps), wer.score(refs, others))
        found.append(pair)
        outside = not pair.interval.low <= 0 <= pair.interval.high
        assert outside == (pair.p < 0.05) or pair.p == pytest.approx(0.05, abs=0.01)
    for ps in ([pair.p for pair in found], [pair.segments.p for pair in found]):
        assert sum(p < 0.05 for p in ps) <= 9  # 3 are expected; 10 are one case in 1,000
        assert 0.35 < np.mean(ps) < 0.65


def test_a_difference_is_found_where_the_intervals_of_both_systems_overlap():
    refs, hyps = one_of_two_words(0, 0.3)
    rng = np.random.default_rng(7)
    better = {u: t.replace("x", "a", 1) if rng.random() < 0.1 else t for u, t in hyps.items()}
    pair = statistics.compare(wer.score(refs, hyps), wer.score(refs, better))
    assert pair.difference == pytest.approx(pair.first - pair.second) and pair.difference > 0
    assert pair.second_interval.high > pair.first_interval.low
    assert pair.p < 0.01 and pair.segments.p < 0.01
    other_way = statistics.compare(wer.score(refs, better), wer.score(refs, hyps))
    assert other_way.difference == -pair.difference
    assert other_way.p == pytest.approx(pair.p, abs=1e-3)
    assert other_way.segments.z == pytest.approx(-pair.segments.z)


@pytest.mark.parametrize("num", [5, 8, 40])
def test_no_p_is_below_the_least(num):
    words = np.full(num, 10)
    speakers = [str(k) for k in range(num)]
    assert statistics.p_of_difference(words // 5, words, speakers) == statistics.least_p(num)
    assert statistics.least_p(8) == pytest.approx(0.01, abs=0.001)


def test_equal_systems_and_differences_that_never_vary():
    refs = {f"s{k}-1": "a b c" for k in range(8)}
    same = statistics.compare(wer.score(refs, refs), wer.score(refs, refs))
    assert (same.difference, same.p, same.segments) == (0, 1, statistics.Segments(0, 0.0, 1.0))
    worse = {u: "a b" for u in refs}
    assert statistics.compare(wer.score(refs, worse), wer.score(refs, refs)).segments == (
        statistics.Segments(8, None, None)
    )


def test_systems_of_other_texts_are_refused():
    refs = {"s-1": "a", "s-2": "b"}
    score = wer.score(refs, refs)
    with pytest.raises(ValueError, match=r"2 and 1, and 1 of them .* such as s-2"):
        statistics.compare(score, wer.score({"s-1": "a"}, {"s-1": "a"}))
    with pytest.raises(ValueError, match="s-2 has another reference in the second system"):
        statistics.compare(score, wer.score(refs | {"s-2": "c"}, refs))
    with pytest.raises(ValueError, match="s-1 has another speaker"):
        statistics.compare(score, wer.score(refs, refs, dict.fromkeys(refs, "t")))


@pytest.mark.parametrize(
    "first, second, segments",
    [
        ("a b c d e f", "a b c d e f", []),
        ("x b c d e y", "a b c d e f", [(1, 0), (1, 0)]),
        ("x b c d e f", "a b c y e f", [(1, 0), (0, 1)]),  # b and c lie between
        ("x b c d e f", "a b y d e f", [(1, 1)]),  # b alone does not divide
        ("a b x c d e f", "a b c d e f", [(1, 0)]),
        ("x b i c d e f", "a b c d e f", [(2, 0)]),  # the insertion stands between b and c
        ("a b c d e f i", "x b c d e f j j", [(0, 1), (1, 2)]),
        ("", "a b c d e", [(6, 1)]),
    ],
)
def test_segments_end_at_two_words_that_both_systems_have_right(first, second, segments):
    aligned = [wer.score({"u": "a b c d e f"}, {"u": hyp}).aligned[0] for hyp in (first, second)]
    assert statistics.segment_errors(*aligned) == segments


def noisy(texts: dict[str, str], rng) -> dict[str, str]:
    """Texts with errors; their last words are right, because sc_stats overlooks errors after them.

    (It drops words that the second system alone inserts after the last word of the reference.)
    """
    found = {}
    for utterance, text in texts.items():
        words = []
        for word in text.split():
            chance = rng.random()
            words += [] if chance < 0.05 else ["x"] if chance < 0.15 else [word]
            words += ["y"] * (rng.random() < 0.05)
        found[utterance] = " ".join([*words, "end"])
    return found


@pytest.mark.skipif(sclite.sctk_command("sc_stats") is None, reason="NIST SCTK is not installed")
@pytest.mark.parametrize("seed", range(5))
def test_the_test_by_segments_is_that_of_sc_stats(tmp_path, seed):
    rng = np.random.default_rng(seed)
    words = ["a", "b", "c", "don't"]
    said = {f"s{k % 4}-{k:03d}": " ".join(rng.choice(words, 12)) for k in range(80)}
    refs = {u: f"{text} end" for u, text in said.items()}
    scores = {name: wer.score(refs, noisy(said, rng), alignment="sclite") for name in "AB"}
    sgml = ""
    for name, score in scores.items():
        for side, file in enumerate(("ref", name)):
            (tmp_path / file).write_text(sclite.trn(score, side))
        options = ["-r", "ref", "trn", "-h", name, "trn", "-i", "rm", "-s", "-o", "sgml", "stdout"]
        sgml += subprocess.run(
            [*sclite.sctk_command("sclite"), *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    subprocess.run(
        [*sclite.sctk_command("sc_stats"), "-p", "-t", "mapsswe", "-v", "-n", "both"],
        input=sgml,
        cwd=tmp_path,
        text=True,
        timeout=60,
        check=True,
    )
    found = re.search(
        r"# segs: (\d+)\).*Z Stat: +(\S+)\)", (tmp_path / "both.stats.mapsswe").read_text("latin-1")
    )
    segments = statistics.mapsswe(scores["A"].aligned, scores["B"].aligned)
    assert segments.num == int(found[1]) > 50
    assert segments.z == pytest.approx(float(found[2]), abs=6e-4)

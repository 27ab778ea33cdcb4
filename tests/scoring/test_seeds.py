"""Systems with several runs: rates, differences, their intervals, and the file of counts."""

import numpy as np
import pytest

from mome.bin import systems as command
from mome.scoring import seeds
from mome.scoring.seeds import Run


def runs_of(system, errors_SK, words_K, cell=("test", "a4")):
    """A run for each row of errors."""
    return [
        Run(system, s, {cell: {f"s{k}": (int(words_K[k]), int(e)) for k, e in enumerate(row)}})
        for s, row in enumerate(errors_SK, 1)
    ]


def test_equal_systems_differ_by_nothing():
    errors_SK, words_K = np.array([[1.0, 2, 3], [2, 2, 4]]), np.array([50.0, 60, 70])
    found = seeds.difference(errors_SK, errors_SK, words_K)
    assert found.value == 0 and found.p == 1
    assert found.low == -found.high < 0 and found.seeds_known


def test_difference_by_hand():
    """Speakers all differ by the same share of their words: only the seeds are left."""
    words_K = np.array([100.0, 200])
    first_SK, second_SK = np.array([[10.0, 20], [12, 24]]), np.array([[5.0, 10], [5, 10]])
    found = seeds.difference(first_SK, second_SK, words_K)
    assert found.value == pytest.approx(6)
    half = 12.7062 * (2 / 2) ** 0.5  # t of one degree of freedom; variance of 10 and 12 % is 2
    assert found.high - found.value == pytest.approx(half, rel=1e-4)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Simulated speakers and seeds with effects of their own, and none between the systems."""
    rng = np.random.default_rng(0)
    num_speakers, num_seeds, held = 16, 3, 0
    for _ in range(1000):
        words_K = rng.integers(100, 250, num_speakers).astype(float)
        speaker_K = rng.gamma(2, 0.03, num_speakers)
        systems = []
        for _ in range(2):
            own_K = rng.normal(0, 0.01, num_speakers)  # some speakers suit a system
            seed_S1 = rng.normal(0, 0.015, (num_seeds, 1))
            share_SK = np.clip(speaker_K + own_K + seed_S1, 0, 1)
            systems.append(rng.binomial(words_K.astype(int), share_SK).astype(float))
        found = seeds.difference(*systems, words_K)
        held += found.low <= 0 <= found.high
    assert 935 <= held <= 975


def test_without_seeds_the_interval_is_narrower():
    rng = np.random.default_rng(1)
    words_K = np.full(16, 150.0)
    first_SK, second_SK = rng.poisson([[9], [15], [4]], (3, 16)), rng.poisson(9, (3, 16))
    whole = seeds.difference(first_SK, second_SK, words_K)
    alone = seeds.difference(first_SK[:1], second_SK[:1], words_K)
    assert not alone.seeds_known
    assert alone.high - alone.low < whole.high - whole.low


def test_all_cells_are_summed():
    run = Run("a", 1, {("test", "a4"): {"s1": (10, 1), "s2": (20, 2)}, ("n", "a4"): {"s1": (5, 4)}})
    errors_SK, words_K = seeds.errors_of([run], list(run.counts))
    assert errors_SK.tolist() == [[5, 2]] and words_K.tolist() == [15, 20]


def test_counts_are_read_as_they_were_written(tmp_path):
    runs = runs_of("mome", [[1, 2], [3, 4]], [10, 20]) + runs_of("lora", [[0, 2]], [10, 20])
    seeds.write_counts(tmp_path / "counts.tsv", runs)
    found = seeds.merge(seeds.read_counts(tmp_path / "counts.tsv"))
    assert found == seeds.merge(runs)
    assert [run.seed for run in found["mome"]] == [1, 2]


@pytest.mark.parametrize(
    ("line", "told"), [("a\t1\ttest", "line 3"), ("a\tx\ttest\ta4\ts\t1\t2", "line 3")]
)
def test_a_damaged_file_of_counts(tmp_path, line, told):
    path = tmp_path / "counts.tsv"
    seeds.write_counts(path, runs_of("a", [[1]], [10]))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=told):
        seeds.read_counts(path)


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="lora_seed1 and mome_seed1"):
        seeds.merge(runs_of("mome", [[1, 2]], [10, 20]) + runs_of("lora", [[1, 2]], [10, 21]))


def test_the_tables(tmp_path, capsys):
    runs = runs_of("mome", [[1, 2], [3, 4]], [50, 50]) + runs_of("lora", [[5, 6], [5, 6]], [50, 50])
    seeds.write_counts(tmp_path / "counts.tsv", runs)
    command.main([str(tmp_path / "counts.tsv"), "--first", "mome"])
    text = capsys.readouterr().out
    assert "5.0 (3.0, 7.0)" in text and "11.0 (11.0, 11.0)" in text
    assert "| lora | +6.0 [" in text


def test_a_name_without_a_seed_is_refused(tmp_path):
    with pytest.raises(ValueError, match="_seed<number>"):
        command.main([str(tmp_path)])

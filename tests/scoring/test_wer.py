import numpy as np
import pytest

from mome.bin import score as command
from mome.scoring import sets, wer

WORDS = ["a", "b", "c", "don't", "été"]


def random_texts(seed: int, n: int = 40) -> tuple[dict[str, str], dict[str, str]]:
    rng = np.random.default_rng(seed)
    refs, hyps = {}, {}
    for k in range(n):
        words = list(rng.choice(WORDS, rng.integers(1, 9)))
        heard = [w if rng.random() < 0.7 else rng.choice(WORDS) for w in words]
        heard = [w for w in heard if rng.random() < 0.9]
        if rng.random() < 0.3:
            heard.insert(rng.integers(len(heard) + 1), rng.choice(WORDS))
        refs[f"s{k % 4}-{k:03d}"], hyps[f"s{k % 4}-{k:03d}"] = " ".join(words), " ".join(heard)
    return refs, hyps


def distance(ref: list[str], hyp: list[str]) -> int:
    """Levenshtein's recursion, written out."""
    row = list(range(len(hyp) + 1))
    for r in ref:
        old, row[0] = row[:], row[0] + 1
        for j, h in enumerate(hyp, 1):
            row[j] = min(old[j] + 1, row[j - 1] + 1, old[j - 1] + (r != h))
    return row[-1]


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_the_edit_distance(seed):
    refs, hyps = random_texts(seed)
    total = wer.score(refs, hyps)
    assert total.errors == sum(distance(refs[u].split(), hyps[u].split()) for u in refs)
    assert total.words == sum(len(t.split()) for t in refs.values())
    assert total.correct + total.substitutions + total.deletions == total.words
    assert total.wrong_sentences == sum(refs[u] != hyps[u] for u in refs)


def test_characters_count_spaces_between_words():
    result = wer.score({"a": "ab cd"}, {"a": "abcd"}, split=wer.split_characters)
    assert (result.words, result.errors) == (5, 1)


def test_counts_by_hand():
    total = wer.score({"s-1": "the cat sat", "s-2": "a b"}, {"s-1": "cat sit", "s-2": "a b"})
    assert total == wer.Score(2, 5, 1, 1, 0, 1)
    assert total.rates() == [60.0, 20.0, 20.0, 0.0, 40.0, 50.0]
    assert wer.Score(**total.as_dict()) == total


def test_missing_and_extra_hypotheses_are_errors():
    with pytest.raises(ValueError, match=r"1 of 2 utterances \(b\) have no hypothesis"):
        wer.score({"a": "x", "b": "y"}, {"a": "x"})
    with pytest.raises(ValueError, match=r"1 of 2 utterances \(c\) have no reference"):
        wer.score({"a": "x"}, {"a": "x", "c": "y"})


def test_order_does_not_matter():
    refs, hyps = random_texts(0)
    assert wer.score(refs, dict(reversed(hyps.items()))) == wer.score(refs, hyps)


def test_empty_texts_are_counted():
    total = wer.score({"a": "x y", "b": ""}, {"a": "", "b": "z"})
    assert (total.words, total.deletions, total.insertions) == (2, 2, 1)
    assert wer.score({"a": ""}, {"a": ""}).error_rate == 0


def write(path, texts: dict[str, str]):
    path.write_text("".join(f"{u} {t}".rstrip() + "\n" for u, t in texts.items()))
    return path


def test_the_command_writes_reports_that_read_back(tmp_path, capsys):
    refs, hyps = random_texts(1)
    ref, hyp = write(tmp_path / "ref", refs), write(tmp_path / "hyp", hyps)
    command.main(["--ref", str(ref), "--hyp", str(hyp), "--out", str(tmp_path / "out")])
    text = (tmp_path / "out/score_wer/result.txt").read_text()
    total = wer.score(refs, hyps)
    cells = next(line for line in text.splitlines() if "Sum/Avg" in line).replace("|", " ").split()
    assert cells[1:3] == [str(total.sentences), str(total.words)]
    assert cells[-2] == f"{total.error_rate:.1f}"
    assert text.count("id: (") == len(refs)
    lines = (tmp_path / "out/score_wer/ref.trn").read_text().splitlines()
    assert lines[0] == f"{refs['s0-000']} (s0-000)"
    assert (tmp_path / "out/score_cer/result.txt").exists()
    assert "WER" in capsys.readouterr().out


@pytest.mark.skipif(sets.sclite_command() is None, reason="NIST sclite is not installed")
@pytest.mark.parametrize("seed", range(3))
def test_totals_agree_with_nist_sclite(tmp_path, seed):
    refs, hyps = random_texts(seed)
    ref, hyp = write(tmp_path / "ref", refs), write(tmp_path / "hyp", hyps)
    result = sets.score_one(ref, hyp, tmp_path / "out", None, "")
    words, errors = sets.run_sclite(tmp_path / "out/score_wer")
    assert words == result.words
    # sclite weighs a substitution more, so it may find a few errors more, never fewer.
    assert result.errors <= errors <= 1.03 * result.errors + 1

"""Which scored sets of two folders are compared, and what is said when they do not fit."""

import shutil

import pytest
from conftest import REFERENCES, decoded_experiment, kaldi

from mome.scoring import paired, sets
from mome.scoring.texts import Rules

WORSE = REFERENCES | {"s1-a": "the dog sat"}


def scored(root, tag, hyps, rules=None):
    exp_dir = decoded_experiment(root, tag, hyps)
    sets.score_experiment(exp_dir, root / "data", "", rules)
    return exp_dir


@pytest.fixture
def two(tmp_path):
    names = ("test_babble_0", "test", "test_babble_5")
    one = scored(tmp_path, "one", {(s, n): WORSE for s in ("a16", "a4") for n in names})
    two = scored(tmp_path, "two", {(s, n): REFERENCES for s in ("a4", "v2") for n in names[:2]})
    return one, two


def test_experiments_are_compared_by_set_and_scale(two):
    rows, alone = paired.compare_folders(*two)
    assert [(row.name, row.scale) for row in rows] == [("test", "a4"), ("test_babble_0", "a4")]
    found = rows[0].comparison
    assert (found.utterances, found.words, found.second) == (3, 7, 0)
    assert found.difference == pytest.approx(100 / 7)
    assert alone == [
        f"only in {two[0]}: test (a16), test_babble_5 (a4, a16), test_babble_0 (a16)",
        f"only in {two[1]}: test (v2), test_babble_0 (v2)",
    ]
    table = paired.as_table(rows)
    assert table[1][:5] == ["test", "a4", "3", "14.3 [0.0, 33.3]", "0.0 [0.0, 0.0]"]


def test_scales_are_compared_set_by_set_and_sets_whatever_their_names(two):
    one, other = two
    rows, _ = paired.compare_folders(one / "decode_a16", other / "decode_v2")
    assert [(row.name, row.scale) for row in rows] == [("test", ""), ("test_babble_0", "")]
    for pair in (
        (one / "decode_a16/test", other / "decode_v2/test_babble_0"),
        (one / "decode_a16/test/score_wer", other / "decode_v2/test"),
    ):
        rows, alone = paired.compare_folders(*pair)
        assert len(rows) == 1 and alone == [] and rows[0].comparison.difference > 14


def test_two_texts_give_the_same(two, tmp_path):
    found = paired.compare_texts(
        tmp_path / "data/test/text",
        two[0] / "decode_a4/test/text",
        two[1] / "decode_a4/test/text",
        tmp_path / "data/test/utt2spk",
        Rules(),
    )
    assert found == paired.compare_folders(*two)[0][0].comparison


def test_what_does_not_fit_is_named(two, tmp_path):
    one, other = two
    with pytest.raises(
        ValueError, match=r"one is a folder of one experiment .* of one scale: give"
    ):
        paired.compare_folders(one, other / "decode_a4")
    with pytest.raises(FileNotFoundError, match=r"data has no score_wer/: score it first"):
        paired.compare_folders(one, tmp_path / "data")
    third = scored(tmp_path, "three", {("v2", "test"): WORSE})
    with pytest.raises(
        ValueError, match=r"both: .*one has test \(a4, a16\), .*three has test \(v2\)"
    ):
        paired.compare_folders(one, third)
    ignoring = scored(tmp_path, "four", {("a4", "test"): WORSE}, Rules(ignore_case=True))
    with pytest.raises(ValueError, match=r"alignment: levenshtein, .* case ignored: use the same"):
        paired.compare_folders(one, ignoring)
    (one / "decode_a4/test/text").write_text(kaldi(REFERENCES))
    with pytest.raises(ValueError, match="decode_a4/test/score_wer has no scores of today's texts"):
        paired.compare_folders(one, other)


def test_other_utterances_and_damaged_folders_are_named(two, tmp_path):
    one, other = two
    few = {u: t for u, t in REFERENCES.items() if u != "s2-c"}
    for name, texts in (("ref", few), ("hyp", few)):
        (tmp_path / name).write_text(kaldi(texts))
    sets.score_set(tmp_path / "ref", tmp_path / "hyp", tmp_path / "out")
    with pytest.raises(ValueError, match=r"score_wer and .*out/score_wer: the utterances differ"):
        paired.compare_folders(one / "decode_a4/test", tmp_path / "out")
    folder = shutil.copytree(one / "decode_a4/test", tmp_path / "copy")
    (folder / "score_wer/hyp.trn").write_text("the (s1-s1-a)\n")
    with pytest.raises(ValueError, match=r"hyp.trn lacks s1-b, which .* has: score it again"):
        paired.compare_folders(folder, other / "decode_a4/test")
    (folder / "score_wer/utterances.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"utterances.tsv is missing: score the set again"):
        paired.compare_folders(folder, other / "decode_a4/test")


def test_small_and_unknown_p_are_shown_so():
    assert [paired.p_value(p) for p in (0.0004, 0.0456, 1.0, None)] == [
        "< 0.001",
        "0.046",
        "1.000",
        "-",
    ]

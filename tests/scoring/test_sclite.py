"""What sclite reads and writes: trn files read back, result.txt, and totals of NIST sclite."""

import pytest
from conftest import random_texts

from mome.scoring import sclite, wer

EXPECTED = """\
id: (s-1)
Scores: (#C #S #D #I) 2 1 1 0
REF:  THE cat SAT down
HYP:  *** cat SIT down
Eval: D       S"""


@pytest.mark.parametrize("side", [0, 1])
def test_trn_files_read_back(tmp_path, side):
    texts = random_texts(0)
    (tmp_path / "x.trn").write_text(sclite.trn(wer.score(*texts), side), encoding="utf-8")
    assert sclite.read_trn(tmp_path / "x.trn") == texts[side]


def test_an_id_is_given_its_speaker_unless_it_begins_with_it():
    ids = {"s-1": "s", "1": "s"}
    assert sclite.trn(wer.score(dict.fromkeys(ids, "a"), dict.fromkeys(ids, "a"), ids), 0) == (
        "a (s-1)\na (s-1)\n"
    )


def test_an_alignment_marks_errors():
    result = wer.score({"s-1": "the cat sat down"}, {"s-1": "cat sit down"})
    assert sclite.alignment(result.aligned[0]) == EXPECTED


def test_the_table_has_a_row_for_each_speaker_and_their_sum():
    refs, hyps = random_texts(1)
    result = wer.score(refs, hyps)
    text = sclite.result_text(result, "title")
    per_cent, counts = text.split("SYSTEM SUMMARY COUNTS by SPEAKER")
    cells = {}
    for part, total in ((per_cent, "Sum/Avg"), (counts, "Sum ")):
        line = next(line for line in part.splitlines() if line.startswith(f"| {total}"))
        cells[total] = line.replace("|", " ").split()[1:]
    assert cells["Sum "] == [str(n) for n in result.counts()]
    assert cells["Sum/Avg"] == [*cells["Sum "][:2], *(f"{r:.1f}" for r in result.rates())]
    assert all(per_cent.count(f"| {speaker} ") == 1 for speaker in ("s0", "s1", "s2", "s3"))
    assert text.count("id: (") == len(refs)


def test_a_speaker_without_words_has_counts_and_a_footnote():
    text = sclite.result_text(wer.score({"s-1": "", "t-1": "a"}, {"s-1": "b", "t-1": "a"}), "")
    row = next(line for line in text.splitlines() if line.startswith("| s "))
    assert "1*" in row and "* No words in the references of this speaker" in text


def test_frequent_errors_come_first():
    refs = {"a": "x x y", "b": "x z"}
    text = sclite.frequent_errors(wer.score(refs, {"a": "u u y", "b": "x"}))
    assert "   1:    2  ->  x ==> u" in text
    assert "DELETIONS                        Total (1), occurrences (1)" in text


@pytest.mark.skipif(sclite.sctk_command("sclite") is None, reason="NIST sclite is not installed")
@pytest.mark.parametrize("seed", range(3))
def test_totals_agree_with_nist_sclite(tmp_path, seed):
    result = wer.score(*random_texts(seed))
    for side, name in enumerate(("ref", "hyp")):
        (tmp_path / f"{name}.trn").write_text(sclite.trn(result, side), encoding="utf-8")
    words, errors = sclite.run_sclite(tmp_path)
    assert words == result.words
    # sclite weighs a substitution more, so it may find a few errors more, never fewer.
    assert result.errors <= errors <= 1.03 * result.errors + 1


TOTALS = """\
|=================================================================|
| Sum             |    3      7 |    6      1      0      0      1      1 |
|=================================================================|
"""


@pytest.mark.parametrize("output, counts", [(TOTALS, (7, 1)), ("no memory\n", None)])
def test_the_output_of_sclite_is_kept_and_its_totals_are_read(
    tmp_path, monkeypatch, caplog, output, counts
):
    program = tmp_path / "sclite"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{output}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sclite, "sctk_command", lambda name: [str(program)])
    assert sclite.run_sclite(tmp_path) == counts
    assert (tmp_path / "sclite.txt").read_text() == output
    assert ("gave no totals" in caplog.text) == (counts is None)

"""What sclite reads and writes: trn files read back, result.txt, and totals of NIST sclite."""

import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import random_texts

from mome.scoring import sclite, wer

EXPECTED = """\
id: (s-s-1)
Scores: (#C #S #D #I) 2 1 1 0
REF:  THE cat SAT down
HYP:  *** cat SIT down
Eval: D       S"""


@pytest.mark.parametrize("side", [0, 1])
def test_trn_files_read_back(tmp_path, side):
    texts = random_texts(0)
    (tmp_path / "x.trn").write_text(sclite.trn(wer.score(*texts), side), encoding="utf-8")
    with_speakers = {f"{u.split('-')[0]}-{u}": text for u, text in texts[side].items()}
    assert sclite.read_trn(tmp_path / "x.trn") == with_speakers


def test_an_id_is_always_given_its_speaker_and_never_stands_for_two_utterances(refused):
    ids = {"s-1": "s", "1": "s"}
    assert sclite.trn(wer.score(dict.fromkeys(ids, "a"), dict.fromkeys(ids, "a"), ids), 0) == (
        "a (s-1)\na (s-s-1)\n"
    )
    for ids, fault in (({"b-c": "a", "c": "a-b"}, "of two utt"), ({"(1)": "a"}, "a parenthesis")):
        same = dict.fromkeys(ids, "x")
        with refused(f"sclite: {fault}", fault):
            sclite.trn(wer.score(same, same, ids), 0)


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
    assert cells["Sum/Avg"] == [*cells["Sum "][:2], *map(wer.one_digit, result.rates())]
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


needs_sclite = pytest.mark.skipif(
    sclite.sctk_command("sclite") is None, reason="NIST sclite is not installed"
)


@needs_sclite
@pytest.mark.parametrize("seed", range(3))
def test_totals_agree_with_nist_sclite(tmp_path, seed):
    texts = random_texts(seed)
    result = wer.score(*texts)
    for side, name in enumerate(("ref", "hyp")):
        (tmp_path / f"{name}.trn").write_text(sclite.trn(result, side), encoding="utf-8")
    words, errors = sclite.run_sclite(tmp_path)
    assert words == result.words
    assert errors == wer.score(*texts, alignment="sclite").errors
    # sclite weighs a substitution more, so it may find a few errors more, never fewer.
    assert result.errors <= errors <= 4 / 3 * result.errors


def random_sets(seed: int, num_sets: int):
    """References and hypotheses of sets that differ in everything; a set is a speaker."""
    rng = np.random.default_rng(seed)
    refs, hyps, speakers = {}, {}, {}
    for k in range(num_sets):
        words = [chr(97 + j) for j in range(rng.integers(2, 9))]
        num_words = 1 if k % 10 == 0 else 15
        for u in range(rng.integers(1, 6)):
            ref = [str(w) for w in rng.choice(words, rng.integers(int(u == 0), num_words + 1))]
            hyp = [str(w) for w in rng.choice(words, rng.integers(0, num_words))]
            if u % 2:
                hyp = [w if rng.random() < 0.7 else rng.choice(words) for w in ref]
                hyp = [str(w) for w in hyp for _ in range(rng.choice([0, 1, 2], p=[0.1, 0.8, 0.1]))]
            utterance = f"s{k:04}-{u}"
            refs[utterance], hyps[utterance] = " ".join(ref), " ".join(hyp)
            speakers[utterance] = f"s{k:04}"
    return refs, hyps, speakers


@needs_sclite
def test_a_thousand_random_sets_are_aligned_summed_and_rounded_as_by_nist_sclite(tmp_path):
    result = wer.score(*random_sets(0, 1000), alignment="sclite")
    for side, name in enumerate(("ref", "hyp")):
        (tmp_path / f"{name}.trn").write_text(sclite.trn(result, side), encoding="utf-8")
    options = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm", "-s"]
    out = subprocess.run(
        [*sclite.sctk_command("sclite"), *options, "-o", "sum", "sgml", "stdout"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    theirs = dict(re.findall(r'<PATH id="\((.*?)\)".*\n(.*)\n', out))
    ours = {sclite.trn_id(a): ":".join(map(pair_in_sgml, a.pairs)) for a in result.aligned}
    assert len(theirs) > 2500 and theirs == ours
    rows = {}
    for line in out.splitlines():
        cells = line.replace("|", " ").split()
        if line.lstrip().startswith("| ") and len(cells) == 9:
            rows[cells[0]] = cells[1:]
    summary = sclite.summary(result, "", in_per_cent=True).splitlines()
    mine = {
        cells[0]: cells[1:] for cells in (x.replace("|", " ").split() for x in summary) if cells
    }
    names = [*result.by_speaker(), "Sum/Avg", "Mean", "S.D.", "Median"]
    assert len(names) == 1004
    assert {name: rows[name] for name in names} == {name: mine[name] for name in names}


def pair_in_sgml(pair: tuple[str | None, str | None]) -> str:
    """A pair of words as sclite writes it: `S,"a","b"`."""
    ref, hyp = pair
    kind = "C" if ref == hyp else "I" if ref is None else "D" if hyp is None else "S"
    return ",".join([kind, *("" if word is None else f'"{word}"' for word in pair)])


@needs_sclite
def test_a_word_that_sclite_would_repeat_for_ever_is_counted(tmp_path):
    for name in ("ref.trn", "hyp.trn"):
        (tmp_path / name).write_text(f"{'a' * 995} b (s-s-1)\n")
    assert sclite.run_sclite(tmp_path) == (2, 0)


@pytest.mark.parametrize("program", ["sleep 60", "yes"])
def test_a_program_that_does_not_end_is_stopped(tmp_path, monkeypatch, caplog, program):
    """Even where the command is a script that waits for the program, as Debian's sctk."""
    script = tmp_path / "sclite"
    script.write_text(f"#!/bin/sh\n{program} & echo $! > {tmp_path}/pid; wait\n")
    script.chmod(0o755)
    for name in ("ref.trn", "hyp.trn", "sclite.txt"):
        (tmp_path / name).write_text("a (s-1)\n")
    monkeypatch.setattr(sclite, "sctk_command", lambda name: [str(script)])
    monkeypatch.setattr(sclite, "TIME_LIMIT_S", 1)
    monkeypatch.setattr(sclite, "MOST_OUTPUT", 1_000_000)
    assert sclite.run_sclite(tmp_path) is None
    assert "NIST sclite gave no totals (it " in caplog.text
    assert (tmp_path / "sclite.txt").stat().st_size < 1000
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):  # a signal may take a moment on a busy machine
        if not is_running(pid):
            return
        time.sleep(0.1)
    raise AssertionError(f"{program} still runs")


def is_running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be collected."""
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    "value, text", [(12.25, "12.3"), (0.05, "0.1"), (2.449, "2.4"), (99.95, "100.0"), (0.0, "0.0")]
)
def test_halves_are_rounded_up(value, text):
    assert wer.one_digit(value) == text


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
    for name in ("ref.trn", "hyp.trn"):
        (tmp_path / name).write_text("a (s-1)\n")
    monkeypatch.setattr(sclite, "sctk_command", lambda name: [str(program)])
    assert sclite.run_sclite(tmp_path) == counts
    assert (tmp_path / "sclite.txt").read_text() == output
    assert ("gave no totals" in caplog.text) == (counts is None)

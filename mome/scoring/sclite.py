"""What NIST sclite reads and writes: trn files, result.txt in its form; and running sclite."""

import logging
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median, stdev

from mome import files
from mome.scoring.wer import COLUMNS, Aligned, Score

LONGEST_LIST = 50  # of confusions, insertions or deletions
TOTALS = re.compile(r"\| *Sum *\| *\d+ +(\d+) *\| *\d+ +\d+ +\d+ +\d+ +(\d+) ")
log = logging.getLogger(__name__)


# ---- trn files ----------------------------------------------------------------------------------


def trn_id(a: Aligned) -> str:
    """`speaker-utterance`, or the id alone when it begins with the speaker, as Kaldi's ids do."""
    return a.utterance if a.utterance.startswith(a.speaker) else f"{a.speaker}-{a.utterance}"


def trn(result: Score, side: int) -> str:
    """Lines `words (speaker-utterance)` of the references (`side` 0) or the hypotheses (1)."""
    lines = []
    for a in result.aligned:
        words = [word for pair in a.pairs if (word := pair[side]) is not None]
        lines.append(f"{' '.join(words)} ({trn_id(a)})\n")
    return "".join(lines)


def read_trn(path: Path) -> dict[str, str]:
    """Texts of a trn file by id."""
    lines = path.read_text(encoding="utf-8").split("\n")
    found = [re.fullmatch(r"(.*)\(([^()]*)\)\s*", line) for line in lines if line.strip()]
    return {m[2]: m[1].strip() for m in found if m}


# ---- result.txt ---------------------------------------------------------------------------------


def result_text(result: Score, title: str) -> str:
    """What `sclite -o all` writes: sums by speaker, alignments, frequent errors."""
    parts = [summary(result, title, in_per_cent=True), summary(result, title, in_per_cent=False)]
    for k, (speaker, group) in enumerate(result.by_speaker().items()):
        parts.append(f"Speaker sentences {k:3}:  {speaker}   #utts: {group.sentences}")
        parts += [alignment(a) for a in group.aligned]
    return "\n\n".join([*parts, frequent_errors(result)]) + "\n"


def summary(result: Score, title: str, in_per_cent: bool) -> str:
    """sclite's table: a row for each speaker; their sum, mean, standard deviation and median."""
    speakers = result.by_speaker()
    rows = [[name, *cells(s, in_per_cent)] for name, s in speakers.items()]
    total = [["Sum/Avg" if in_per_cent else "Sum", *cells(result, in_per_cent)]]
    spread = []
    for name, statistic in (("Mean", mean), ("S.D.", deviation), ("Median", median)):
        spread.append([name, *spread_cells(list(speakers.values()), statistic, in_per_cent)])
    head = ["SPKR", "# Snt", "# Wrd ", *(f"{c} " for c in COLUMNS[2:])]
    all_rows = [head, *rows, *total, *spread]
    min_widths = [0, 6, 7, 6, *[7] * 5]
    widths = [max(w, *(len(row[k]) for row in all_rows)) for k, w in enumerate(min_widths)]

    def line(row: list[str]) -> str:
        texts = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        return f"| {row[0].ljust(widths[0])} |{''.join(texts[:2])}|{''.join(texts[2:])}|"

    width = len(line(head)) - 2
    kind = "PERCENTAGES" if in_per_cent else "COUNTS"
    rule = line(["", *[""] * 8]).replace(" ", "-").replace("|", "+")[1:-1]
    out = [f"SYSTEM SUMMARY {kind} by SPEAKER".center(width + 2).rstrip(), ""]
    out += [f",{'-' * width},", f"|{title[-width:].center(width)}|", f"|{'-' * width}|"]
    out += [line(head), *(text for row in rows for text in (f"|{rule}|", line(row)))]
    out += [f"|{'=' * width}|", line(total[0]), f"|{'=' * width}|"]
    out += [*map(line, spread), f"`{'-' * width}'"]
    if in_per_cent and any(s.words == 0 for s in speakers.values()):
        out += ["* No words in the references of this speaker: counts, not per cent."]
        out += ["+ Over the other speakers."]
    return "\n".join(out)


def cells(s: Score, in_per_cent: bool) -> list[str]:
    """The cells of a row; each number is followed by a blank or by the mark of a footnote."""
    if not in_per_cent:
        return [f"{n} " for n in s.counts()]
    marked = [f"{r:.1f} " for r in s.rates()]
    if s.words == 0:
        marked[:-1] = [f"{n}*" for n in s.counts()[2:-1]]
    return [*(f"{n} " for n in s.counts()[:2]), *marked]


def spread_cells(speakers: list[Score], statistic: Callable, in_per_cent: bool) -> list[str]:
    """The cells of a row of means, deviations or medians over speakers."""
    if not in_per_cent:
        return [f"{statistic(column):.1f} " for column in _columns(s.counts() for s in speakers)]
    spoken = [s for s in speakers if s.words]
    mark = " " if len(spoken) == len(speakers) else "+"
    sizes = _columns(s.counts()[:2] for s in speakers)
    rates = _columns(s.rates()[:-1] for s in spoken) or [[0.0]] * 5
    wrong = [s.sentence_error_rate for s in speakers] or [0.0]
    marked = [f"{statistic(column):.1f}{mark}" for column in rates]
    return [*(f"{statistic(c):.1f} " for c in sizes), *marked, f"{statistic(wrong):.1f} "]


def _columns(rows: Iterable[list]) -> list[list]:
    return [list(column) for column in zip(*rows, strict=True)]


def deviation(values: list[float]) -> float:
    """Standard deviation; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def alignment(a: Aligned) -> str:
    """Id, counts, and the words in columns; errors are in upper case and marked S, D or I."""
    rows = ["REF: ", "HYP: ", "Eval:"]
    for r, h in a.pairs:
        mark = "" if r == h else "I" if r is None else "D" if h is None else "S"
        shown = [word and (word.upper() if mark else word) for word in (r, h)]
        width = max(len(word or "") for word in shown)
        column = [*("*" * width if word is None else word for word in shown), mark]
        rows = [f"{row} {text.ljust(width)}" for row, text in zip(rows, column, strict=True)]
    s = a.score()
    counts = f"{s.correct} {s.substitutions} {s.deletions} {s.insertions}"
    head = [f"id: ({trn_id(a)})", f"Scores: (#C #S #D #I) {counts}"]
    return "\n".join([*head, *(row.rstrip() for row in rows)])


def frequent_errors(result: Score) -> str:
    """Confusions, insertions and deletions, the most frequent ones first."""
    pairs = [(r, h) for a in result.aligned for r, h in a.pairs if r != h]
    out = []
    for name, found in (
        ("CONFUSION PAIRS", [f"{r} ==> {h}" for r, h in pairs if None not in (r, h)]),
        ("INSERTIONS", [h for r, h in pairs if r is None]),
        ("DELETIONS", [r for r, h in pairs if h is None]),
    ):
        counts = sorted(Counter(found).items(), key=lambda item: (-item[1], item[0]))
        shown = counts[:LONGEST_LIST]
        note = f", the first {LONGEST_LIST}" if len(shown) < len(counts) else ""
        out += [f"{name:32} Total ({len(counts)}), occurrences ({len(found)}){note}", ""]
        out += [f"{k:4}: {n:4}  ->  {words}" for k, (words, n) in enumerate(shown, 1)]
        out += ["     -------", f"{sum(n for _, n in shown):10}", "", ""]
    return "\n".join(out).rstrip()


# ---- sclite itself ------------------------------------------------------------------------------


def sctk_command(program: str) -> list[str] | None:
    """How a program of NIST's SCTK is called on this machine; None when it is not installed."""
    if shutil.which(program):
        return [program]
    return ["sctk", program] if shutil.which("sctk") else None  # as in Debian


def run_sclite(folder: Path) -> tuple[int, int] | None:
    """Run sclite on ref.trn and hyp.trn of a folder; its output is kept in sclite.txt.

    Returns the numbers of words and errors, or None when sclite is not installed or fails.
    """
    command = sctk_command("sclite")
    if command is None:
        return None
    trn_files = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn"]
    process = subprocess.run(
        [*command, *trn_files, "-i", "rm", "-s", "-e", "utf-8", "-o", "rsum", "pra", "stdout"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    files.write_text(folder / "sclite.txt", process.stdout + process.stderr)
    totals = TOTALS.search(process.stdout)
    if totals is None:
        log.warning(f"sclite gave no totals: see {folder / 'sclite.txt'}")
        return None
    return int(totals[1]), int(totals[2])

"""What NIST sclite reads and writes: trn files, result.txt in its form; and running sclite."""

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median, stdev

from mome import files
from mome.scoring.wer import COLUMNS, Aligned, Score, one_digit

TIME_LIMIT_S = 60
MOST_OUTPUT = 200_000_000  # bytes
LONGEST_WORD = 500  # bytes
LONGEST_LIST = 50  # of confusions, insertions or deletions
TOTALS = re.compile(r"\| *Sum *\| *\d+ +(\d+) *\| *\d+ +\d+ +\d+ +\d+ +(\d+) ")
log = logging.getLogger(__name__)


# ---- trn files ----------------------------------------------------------------------------------


def trn_id(a: Aligned) -> str:
    """`speaker-utterance`, as in ESPnet, even if the utterance's own id begins with the speaker."""
    return f"{a.speaker}-{a.utterance}"


def trn(result: Score, side: int) -> str:
    """Lines `words (speaker-utterance)` of the references (`side` 0) or the hypotheses (1).

    Raises ValueError for an id that two utterances would share or that has a parenthesis.
    """
    lines = {}
    for a in result.aligned:
        key = trn_id(a)
        if key in lines or set("()") & set(key):
            fault = "is that of two utterances" if key in lines else "has a parenthesis"
            raise ValueError(f"no trn file can be written: the id {key} in it {fault}")
        lines[key] = f"{' '.join(a.words(side))} ({key})\n"
    return "".join(lines.values())


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
    marked = [f"{one_digit(r)} " for r in s.rates()]
    if s.words == 0:
        marked[:-1] = [f"{n}*" for n in s.counts()[2:-1]]
    return [*(f"{n} " for n in s.counts()[:2]), *marked]


def spread_cells(speakers: list[Score], statistic: Callable, in_per_cent: bool) -> list[str]:
    """The cells of a row of means, deviations or medians over speakers."""
    if not in_per_cent:
        return [
            f"{one_digit(statistic(column))} " for column in _columns(s.counts() for s in speakers)
        ]
    spoken = [s for s in speakers if s.words]
    mark = " " if len(spoken) == len(speakers) else "+"
    sizes = _columns(s.counts()[:2] for s in speakers)
    rates = _columns(s.rates()[:-1] for s in spoken) or [[0.0]] * 5
    wrong = [s.sentence_error_rate for s in speakers] or [0.0]
    marked = [f"{one_digit(statistic(column))}{mark}" for column in rates]
    sizes_shown = [f"{one_digit(statistic(column))} " for column in sizes]
    return [*sizes_shown, *marked, f"{one_digit(statistic(wrong))} "]


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

    Returns the numbers of words and errors, or None when sclite is not installed, fails, or passes
    a limit of time or output.
    """
    command = sctk_command("sclite")
    path = folder / "sclite.txt"
    path.unlink(missing_ok=True)
    if command is None:
        return None
    trn_files = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn"]
    words = b"".join((folder / name).read_bytes() for name in ("ref.trn", "hyp.trn")).split()
    # sclite 2.10 writes for ever when it shows the alignment of a word of 995 bytes.
    shown = ["pra"] if max(map(len, words), default=0) <= LONGEST_WORD else []
    options = ["-i", "rm", "-s", "-e", "utf-8", "-o", "rsum", *shown, "stdout"]
    with files.atomic_write(path) as tmp_path:
        fault = run_limited([*command, *trn_files, *options], folder, tmp_path)
        text = tmp_path.read_text(encoding="utf-8", errors="replace") if not fault else ""
        tmp_path.write_text(text or f"{fault}\n", encoding="utf-8")
    totals = TOTALS.search(text)
    if totals is None:
        log.warning(f"{folder}: NIST sclite gave no totals ({fault or f'see {path}'})")
        return None
    return int(totals[1]), int(totals[2])


def run_limited(command: list[str], folder: Path, out_path: Path) -> str:
    """Run a program in a folder with its output in a file; returns what went wrong, or ""."""
    limited = ["sh", "-c", f'ulimit -f {MOST_OUTPUT // 512}; exec "$@"', "sh", *command]
    with open(out_path, "wb") as out:
        process = subprocess.Popen(
            limited, cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"it was stopped after {TIME_LIMIT_S} s"
        finally:  # the program itself, where the command is a script that calls it
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if out_path.stat().st_size > MOST_OUTPUT - 1024:
        return f"it was stopped after {MOST_OUTPUT} bytes of output"
    return "" if status == 0 else f"it ended with status {status}"

"""Pairs of systems to compare: which scored sets two folders have in common.

A folder is an experiment (exp/<tag>), one scale of it (decode_<scale>), one set (a folder with
score_wer/), or a score_wer/ itself. Two folders of the same kind are compared: experiments by set
and scale, scales by set. Scores must be those of today's texts, scored by the same rules.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mome.scoring import sets, statistics, tables
from mome.scoring.statistics import Comparison, Interval
from mome.scoring.texts import Rules

KINDS = {"experiment": "decode_*/*/score_wer", "scale": "*/score_wer", "set": "score_wer"}


@dataclass(frozen=True)
class Row:
    """A set, and a scale where both folders have several, with its comparison."""

    name: str
    scale: str
    comparison: Comparison


def compare_folders(first: Path, second: Path) -> tuple[list[Row], list[str]]:
    """Compare what two folders have in common; also returns, in words, what only one of them has.

    Raises FileNotFoundError for a folder without scores, ValueError when they have nothing in
    common or their texts differ.
    """
    kinds = [kind_of(folder) for folder in (first, second)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"{first} is a folder of one {kinds[0]} and {second} of one {kinds[1]}: give two of the"
            " same kind"
        )
    found = [score_folders(folder, kinds[0]) for folder in (first, second)]
    common = found[0].keys() & found[1].keys()
    if not common:
        raise ValueError(
            f"no set and scale is in both: {first} has {_listed(found[0])}; {second} has"
            f" {_listed(found[1])}"
        )
    rows = []
    for key in _sorted(common):
        rows.append(Row(*key, compare_scored(found[0][key], found[1][key])))
    alone = [
        f"only in {folder}: {_listed(mine.keys() - common)}"
        for folder, mine in zip((first, second), found, strict=True)
        if mine.keys() - common
    ]
    return rows, alone


def compare_scored(first: Path, second: Path) -> Comparison:
    """Compare two score_wer/ folders. Raises ValueError that names them when they do not fit."""
    one, two = (rules_of(folder) for folder in (first, second))
    if one != two:
        raise ValueError(f"{first} was scored with {one}, {second} with {two}: use the same rules")
    try:
        return statistics.compare(
            *(sets.read_aligned(folder, one.alignment) for folder in (first, second))
        )
    except ValueError as error:
        raise ValueError(f"{first} and {second}: {error}") from None


def rules_of(folder: Path) -> Rules:
    """The rules by which a score_wer/ folder was made; ValueError when its scores are stale."""
    path = folder.parent / sets.SCORES
    scores = tables.read_json(path)
    if not scores or tables.is_stale(path, scores):
        raise ValueError(f"{folder} has no scores of today's texts: score it (stage 5, mome score)")
    rules = scores["rules"]
    return Rules(rules["alignment"], rules["ignore_case"], tuple(rules["remove"]))


def compare_texts(
    ref: Path, first: Path, second: Path, utt2spk: Path | None, rules: Rules
) -> Comparison:
    """Compare two Kaldi texts of hypotheses."""
    scores = [sets.score_texts(ref, hyp, utt2spk, "", rules)["wer"] for hyp in (first, second)]
    return statistics.compare(*scores)


# ---- folders ------------------------------------------------------------------------------------


def kind_of(folder: Path) -> str:
    """experiment, scale or set. Raises FileNotFoundError for a folder without scores."""
    if (folder / "hyp.trn").exists():
        return "set"
    for kind, pattern in KINDS.items():
        if any(folder.glob(pattern)):
            return kind
    raise FileNotFoundError(f"{folder} has no score_wer/: score it first (stage 5, mome score)")


def score_folders(folder: Path, kind: str) -> dict[tuple[str, str], Path]:
    """(set, scale) -> score_wer/; what a kind does not tell apart is ""."""
    if kind == "set":
        return {("", ""): folder if (folder / "hyp.trn").exists() else folder / "score_wer"}
    found = {}
    for path in folder.glob(KINDS[kind]):
        scale = path.parents[1].name.removeprefix("decode_") if kind == "experiment" else ""
        found[path.parent.name, scale] = path
    return found


def _sorted(keys: Any) -> list[tuple[str, str]]:
    names = tables.order_sets({name for name, _ in keys})
    scales = tables.order_scales({scale for _, scale in keys} - {""})
    return sorted(keys, key=lambda k: (names.index(k[0]), scales.index(k[1]) if k[1] else 0))


def _listed(keys: Any) -> str:
    """`test (a4, a16), test_babble_0 (a4)`, or the names of the sets alone."""
    scales: dict[str, list[str]] = {}
    for name, scale in _sorted(keys):
        scales.setdefault(name, []).append(scale)
    return ", ".join(f"{n} ({', '.join(s)})" if s != [""] else n for n, s in scales.items())


# ---- as a table ---------------------------------------------------------------------------------


def as_table(rows: list[Row]) -> list[list[str]]:
    """A row of cells for each comparison, below a header; see mome.scoring.tables."""
    head = ["set", "scale", "utterances", "A %", "B %", "A - B", "p", "segments", "p MAPSSWE"]
    found = [head]
    for row in rows:
        c = row.comparison
        cells = [row.name or "-", row.scale or "-", str(c.utterances)]
        cells += [with_interval(c.first, c.first_interval)]
        cells += [with_interval(c.second, c.second_interval)]
        cells += [with_interval(c.difference, c.interval, sign=True)]
        cells += [p_value(c.p), str(c.segments.num), p_value(c.segments.p)]
        found.append(cells)
    used = [k for k in range(len(head)) if any(cells[k] != "-" for cells in found[1:])]
    return [[cells[k] for k in used] for cells in found]


def with_interval(rate: float, interval: Interval | None, sign: bool = False) -> str:
    """`3.5 [2.1, 5.0]`; `sign` shows a plus, too."""
    form = "+.1f" if sign else ".1f"
    shown = "" if interval is None else f" [{interval.low:{form}}, {interval.high:{form}}]"
    return f"{rate:{form}}{shown}"


def p_value(p: float | None) -> str:
    """Three digits after the point, `< 0.001`, or `-` when it cannot be known."""
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"

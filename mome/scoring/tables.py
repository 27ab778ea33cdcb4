"""Tables of what experiments reached: error rates by set and scale, sizes, and training data.

A table is a list of rows of cells; the first row is the header. A value that was not measured is
`-`. `plain` and `markdown` turn a table into text.
"""

import json
from pathlib import Path

from mome.compression import Scale
from mome.data.set_name import SetName
from mome.scoring import wer

UNITS = {"wer": "Words", "cer": "Characters", "ter": "Tokens"}
SIZES = ("active", "resident", "projectors")  # keys of size.json

Scores = dict[tuple[str, str], wer.Score]  # (set, scale) -> counts


# ---- files of an experiment ---------------------------------------------------------------------


def read_scores(exp_dir: Path, unit: str = "wer") -> Scores:
    """The counts of every set and scale that stage 5 scored in a unit, possibly none.

    Raises FileNotFoundError when there are not even word scores.
    """
    scores = {}
    for path in exp_dir.glob("decode_*/*/score.json"):
        counts = json.loads(path.read_text())
        if unit in counts:
            key = path.parent.name, path.parent.parent.name.removeprefix("decode_")
            scores[key] = wer.Score(**counts[unit])
    if unit == "wer" and not scores:
        raise FileNotFoundError(f"{exp_dir} has no scores: run stages 4 and 5")
    return scores


def read_metrics(exp_dir: Path) -> list[dict]:
    """The lines of metrics.jsonl; none when nothing was trained in this folder."""
    path = exp_dir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_json(path: Path) -> dict:
    """A JSON file; an empty dict when it does not exist."""
    return json.loads(path.read_text()) if path.exists() else {}


# ---- tables -------------------------------------------------------------------------------------


def order_scales(scales: set[str]) -> list[str]:
    """Scales from the finest audio tokens to the coarsest, then likewise by video tokens."""
    return sorted(scales, key=lambda s: (Scale.parse(s).audio or 0, Scale.parse(s).video or 0))


def order_sets(sets: set[str]) -> list[str]:
    """Sets in the order of `SetName`: clean first, then by noise and falling SNR."""
    return sorted(sets, key=lambda name: SetName.parse(name).sort_key)


def matrix(scores: Scores) -> list[list[str]]:
    """Word error rates: a row for each test set, a column for each scale."""
    scales = order_scales({scale for _, scale in scores})
    rows = [["WER %", *scales]]
    for name in order_sets({name for name, _ in scores}):
        rows.append([name, *(rate(scores.get((name, scale))) for scale in scales)])
    return rows


def comparison(experiments: dict[str, Scores]) -> list[list[str]]:
    """Word error rates: a row for each experiment and scale, a column for each test set."""
    sets = order_sets({name for scores in experiments.values() for name, _ in scores})
    rows = [["WER %", "scale", *sets]]
    for tag, scores in experiments.items():
        for scale in order_scales({scale for _, scale in scores}):
            rows.append([tag, scale, *(rate(scores.get((name, scale))) for name in sets)])
    return rows


def costs(exp_dirs: list[Path]) -> list[list[str]]:
    """Parameters in millions, optimiser steps and tokens of training: a row for each experiment."""
    amounts = ["steps", "text tokens", "LLM tokens"]
    rows = [["training", *(f"{name} M" for name in SIZES), *amounts]]
    for exp_dir in exp_dirs:
        size = read_json(exp_dir / "size.json")
        cells = [f"{size[k] / 1e6:.2f}" if k in size else "-" for k in SIZES]
        steps = [m for m in read_metrics(exp_dir) if "llm_tokens" in m]
        cells += [str(steps[-1]["step"]) if steps else "-"]
        for name in ("text_tokens", "llm_tokens"):
            cells.append(f"{sum(m[name] for m in steps):,}" if steps else "-")
        rows.append([exp_dir.name, *cells])
    return rows


def details(scores: Scores) -> list[list[str]]:
    """ESPnet's table: a row of rates in per cent for each scale and set."""
    rows = [["dataset", *wer.COLUMNS]]
    for scale in order_scales({scale for _, scale in scores}):
        for name in order_sets({n for n, s in scores if s == scale}):
            score = scores[name, scale]
            rates = [f"{r:.1f}" for r in score.rates()]
            rows.append([f"decode_{scale}/{name}", str(score.sentences), str(score.words), *rates])
    return rows


def rate(score: wer.Score | None) -> str:
    """The error rate in per cent with one digit, or `-`."""
    return f"{score.error_rate:.1f}" if score else "-"


# ---- tables as text -----------------------------------------------------------------------------


def plain(rows: list[list[str]]) -> str:
    """A table for the terminal."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def markdown(rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"

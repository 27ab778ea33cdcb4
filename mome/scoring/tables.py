"""Tables of what experiments reached: error rates by set and scale, sizes, and training data.

A table is a list of rows of cells; the first row is the header. A value that was not measured is
`-`. `plain` and `markdown` turn a table into text.
"""

import functools
import json
import logging
from pathlib import Path

from mome.compression import Scale
from mome.data.set_name import SetName
from mome.scoring import wer
from mome.scoring.statistics import Interval
from mome.scoring.texts import digest

UNITS = {"wer": "Words", "cer": "Characters", "ter": "Tokens"}
log = logging.getLogger(__name__)
SIZES = ("active", "resident", "projectors")  # keys of size.json

Scores = dict[tuple[str, str], wer.Score]  # (set, scale) -> counts


# ---- files of an experiment ---------------------------------------------------------------------


def read_scores(exp_dir: Path, unit: str = "wer") -> Scores:
    """The counts of every set and scale that stage 5 scored in a unit, possibly none.

    Raises FileNotFoundError when there are not even word scores.
    """
    found = read_score_files(exp_dir)
    if unit == "wer" and not found:
        raise FileNotFoundError(f"{exp_dir} has no scores: run stages 4 and 5")
    return {key: wer.Score(**scores[unit]) for key, scores in found.items() if unit in scores}


def read_intervals(exp_dir: Path, unit: str = "wer") -> dict[tuple[str, str], Interval]:
    """The 95 % interval of each error rate in a unit that has one, by set and scale."""
    found = {}
    for key, scores in read_score_files(exp_dir).items():
        interval = scores.get("intervals", {}).get(unit)
        if interval:
            found[key] = Interval(**interval)
    return found


def read_score_files(exp_dir: Path) -> dict[tuple[str, str], dict]:
    """score.json by set and scale; `mome.scoring.sets` says what is in it.

    Scores of a text that has changed since are left out, with a warning.
    """
    found = {}
    for path in sorted(exp_dir.glob("decode_*/*/score.json")):
        scores = json.loads(path.read_text(encoding="utf-8"))
        if is_stale(path, scores):
            _report_stale(path)
        elif "wer" in scores:
            found[path.parent.name, path.parents[1].name.removeprefix("decode_")] = scores
    return found


@functools.cache  # once for each file
def _report_stale(path: Path) -> None:
    log.warning(f"{path} is left out: the text beside it has changed; run stage 5")


def is_stale(path: Path, scores: dict) -> bool:
    """Whether a score.json is not that of the text which was decoded last."""
    text = path.with_name("text")
    kept = scores.get("digests", {}).get("hyp")
    return bool(kept) and text.exists() and digest(text) != kept


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
    """ESPnet's table: a row of rates in per cent for each scale and set.

    Rates have one digit, and halves are rounded up, as in NIST sclite.
    """
    rows = [["dataset", *wer.COLUMNS]]
    for scale in order_scales({scale for _, scale in scores}):
        for name in order_sets({n for n, s in scores if s == scale}):
            score = scores[name, scale]
            rates = [wer.one_digit(r) for r in score.rates()]
            rows.append([f"decode_{scale}/{name}", str(score.sentences), str(score.words), *rates])
    return rows


def rate(score: wer.Score | None) -> str:
    """The error rate in per cent with one digit, or `-`."""
    return wer.one_digit(score.error_rate) if score else "-"


# ---- tables with intervals ----------------------------------------------------------------------


def with_interval(score: wer.Score | None, interval: Interval | None) -> str:
    """`3.5 [2.1, 5.0]`, the error rate and its 95 % interval; `-` without a score."""
    if not score or not interval:
        return rate(score)
    return f"{rate(score)} [{wer.one_digit(interval.low)}, {wer.one_digit(interval.high)}]"


def in_noise(exp_dir: Path, audio_dir: Path | None, video: bool = False) -> list[list[str]]:
    """Word error rates with intervals: a row for each noise and SNR, a column for each scale.

    Args:
        audio_dir: an experiment on audio alone, which may be `exp_dir` itself. Its scales are
            further columns, and each scale of the same audio rate shows its gain: by how many per
            cent of the errors of audio alone it has fewer.
        video: the sets with another or a zeroed video, in place of those with their own.
    """
    scores, intervals = read_scores(exp_dir), read_intervals(exp_dir)
    alone, alone_intervals = {}, {}
    if audio_dir:
        alone, alone_intervals = read_scores(audio_dir), read_intervals(audio_dir)
        alone = {key: s for key, s in alone.items() if Scale.parse(key[1]).task == "asr"}
    scales = order_scales({scale for _, scale in scores})
    extra = order_scales({scale for _, scale in alone} - set(scales))
    extra = extra if audio_dir != exp_dir else []
    names = [n for n in order_sets({n for n, _ in scores}) if shows_own_video(n) != video]
    head = [f"{scale} of {audio_dir.name}" for scale in extra] if audio_dir else []
    rows = [["noise", "SNR, dB", *(["video"] if video else []), *scales, *head]]
    for name in names:
        parsed = SetName.parse(name)
        clean = "clean" if parsed.base == "test" else parsed.base
        row = [parsed.noise or clean, "-" if parsed.snr is None else f"{parsed.snr:g}"]
        row += [parsed.video] if video else []
        for scale in scales:
            cell = with_interval(scores.get((name, scale)), intervals.get((name, scale)))
            audio = Scale(Scale.parse(scale).audio, None) if Scale.parse(scale).audio else None
            row.append(cell + gain(scores.get((name, scale)), alone.get((name, str(audio)))))
        row += [with_interval(alone.get((name, s)), alone_intervals.get((name, s))) for s in extra]
        rows.append(row)
    return rows


def shows_own_video(name: str) -> bool:
    """Whether a set is decoded with its own video."""
    return SetName.parse(name).video == "own"


def gain(score: wer.Score | None, alone: wer.Score | None) -> str:
    """` (+73 %)`: the share of the errors of audio alone that a score does not have; or ""."""
    if not score or not alone or not alone.errors or score is alone or score == alone:
        return ""
    return f" ({100 * (1 - score.error_rate / alone.error_rate):+.0f} %)"


def audio_alone(exp_dir: Path, others: list[Path]) -> Path | None:
    """The experiment on audio alone to compare with, or None.

    It is `exp_dir` itself if that also reads audio alone, else `<tag>_asr`, else any other.
    """
    own = tasks(exp_dir)
    if "asr" in own:
        return exp_dir if len(own) > 1 else None
    having = [other for other in others if "avsr" in own and "asr" in tasks(other)]
    having.sort(key=lambda other: other.name != f"{exp_dir.name}_asr")
    return having[0] if having else None


def tasks(exp_dir: Path) -> set[str]:
    """The tasks of the scales that were scored."""
    return {Scale.parse(scale).task for _, scale in read_scores(exp_dir)}


def systems(exp_dirs: list[Path], name: str) -> list[list[str]]:
    """Word error rates of one set with intervals: a row for each experiment that has it."""
    scores = {exp_dir: read_scores(exp_dir) for exp_dir in exp_dirs}
    having = {e: found for e, found in scores.items() if any(n == name for n, _ in found)}
    scales = order_scales({scale for found in having.values() for n, scale in found if n == name})
    rows = [[name, "active M", "steps", *scales]]
    for exp_dir, found in having.items():
        size, intervals = read_json(exp_dir / "size.json"), read_intervals(exp_dir)
        steps = [m["step"] for m in read_metrics(exp_dir) if "llm_tokens" in m]
        cells = [f"{size['active'] / 1e6:.2f}" if "active" in size else "-"]
        cells += [str(steps[-1]) if steps else "-"]
        keys = [(name, scale) for scale in scales]
        cells += [with_interval(found.get(key), intervals.get(key)) for key in keys]
        rows.append([exp_dir.name, *cells])
    return rows


def speakers(exp_dir: Path) -> list[list[str]]:
    """A row of sclite's rates, and the interval, for each set, scale and speaker."""
    rows = [["dataset", "speaker", *wer.COLUMNS, "95 % interval of Err"]]
    found = read_score_files(exp_dir)
    for scale in order_scales({scale for _, scale in found}):
        for name in order_sets({n for n, s in found if s == scale}):
            for speaker, counts in found[name, scale].get("speakers", {}).items():
                interval = counts.pop("interval", None)
                score = wer.Score(**counts)
                ends = "-"
                if interval:
                    ends = " to ".join(wer.one_digit(interval[end]) for end in ("low", "high"))
                cells = [str(score.sentences), str(score.words)]
                cells += [wer.one_digit(value) for value in score.rates()]
                rows.append([f"decode_{scale}/{name}", speaker, *cells, ends])
    return rows


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

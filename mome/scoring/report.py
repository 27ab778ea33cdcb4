"""RESULTS.md of a recipe, and a page for each experiment, with figures."""

import html
import importlib.metadata
import json
import logging
import platform
import re
import subprocess
import time
from pathlib import Path

import markdown as markdown_to_html

from mome.compression import Scale
from mome.scoring import plots, wer

log = logging.getLogger(__name__)

PACKAGES = ("mome-avsr", "torch", "transformers", "deepspeed", "espnet", "kaldiio", "jiwer")
UNITS = {"wer": "Words", "cer": "Characters", "ter": "Tokens"}
SIZES = ("active", "resident", "projectors")  # of size.json
EXAMPLES = 6  # utterances shown on the page
STYLE = """body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; font-size: 90%; margin: 1em 0 }
th, td { padding: .15em .7em; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left; white-space: nowrap }
.texts td, .texts th { text-align: left; vertical-align: top }
img { max-width: 100% }"""

Scores = dict[tuple[str, str], wer.Score]  # (set, scale) -> counts


def read_scores(exp_dir: Path, unit: str = "wer") -> Scores:
    """The counts of everything that stage 5 scored; of a unit that it did not count, none."""
    scores = {}
    for path in exp_dir.glob("decode_*/*/score.json"):
        counts = json.loads(path.read_text())
        if unit in counts:
            key = path.parent.name, path.parent.parent.name.removeprefix("decode_")
            scores[key] = wer.Score(**counts[unit])
    if unit == "wer" and not scores:
        raise FileNotFoundError(f"{exp_dir} has no scores: run stages 4 and 5")
    return scores


def order_scales(scales: set[str]) -> list[str]:
    """Finest first."""
    return sorted(scales, key=lambda s: (Scale.parse(s).audio or 0, Scale.parse(s).video or 0))


def order_sets(sets: set[str]) -> list[str]:
    """The clean set first, then by noise and falling SNR; video checks behind their set.

    A noise is called as its files or folder are: `speech_shaped`, `free-sound`, `factory_1`.
    """

    def key(name: str) -> tuple:
        noisy, check = r"_([\w-]+)_(-?\d+(?:\.\d+)?)", r"_(?:zeroed|other)_video"
        found = re.fullmatch(rf"([a-z]+)(?:{noisy})?((?:{check})?)", name)
        if not found:
            return (9, name)
        noise, snr = found[2] or "", float(found[3] or 0)
        return (0, found[1], noise, -snr, found[4] or "")

    return sorted(sets, key=key)


def matrix(scores: Scores) -> list[list[str]]:
    """Word error rates: a row per test set, a column per scale."""
    scales = order_scales({scale for _, scale in scores})
    rows = [["WER %", *scales]]
    for name in order_sets({name for name, _ in scores}):
        rows.append([name, *(rate(scores.get((name, scale))) for scale in scales)])
    return rows


def comparison(experiments: dict[str, Scores]) -> list[list[str]]:
    """Word error rates: a row per experiment and scale, a column per test set."""
    sets = order_sets({name for scores in experiments.values() for name, _ in scores})
    rows = [["WER %", "scale", *sets]]
    for tag, scores in experiments.items():
        for scale in order_scales({scale for _, scale in scores}):
            rows.append([tag, scale, *(rate(scores.get((name, scale))) for name in sets)])
    return rows


def costs(exp_dirs: list[Path]) -> list[list[str]]:
    """Parameters in millions, and what was trained on: a row per experiment."""
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


def rate(score: wer.Score | None) -> str:
    """Per cent with one digit; `-` for what was not measured."""
    return f"{score.error_rate:.1f}" if score else "-"


def plain(rows: list[list[str]]) -> str:
    """A table for the terminal."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def markdown(rows: list[list[str]]) -> str:
    """A table for a page."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def details(exp_dir: Path, unit: str) -> str:
    """ESPnet's table of a unit: each scale and set."""
    scores = read_scores(exp_dir, unit)
    if not scores:
        return ""
    rows = [["dataset", *wer.COLUMNS]]
    for scale in order_scales({scale for _, scale in scores}):
        for name in order_sets({n for n, s in scores if s == scale}):
            score = scores[name, scale]
            rates = [f"{r:.1f}" for r in score.rates()]
            rows.append([f"decode_{scale}/{name}", str(score.sentences), str(score.words), *rates])
    return f"### {UNITS[unit]}\n\n{markdown(rows)}\n"


def environment() -> str:
    """Date, versions and the state of the sources."""
    lines = [
        f"* date: `{time.strftime('%Y-%m-%d %H:%M')}`",
        f"* python: `{platform.python_version()}`",
    ]
    for name in PACKAGES:
        try:
            lines.append(f"* {name}: `{importlib.metadata.version(name)}`")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"* {name}: -")
    git = ["git", "-C", str(Path(__file__).parent)]
    commit, changed = (
        subprocess.run([*git, *args], capture_output=True, text=True, check=False).stdout.strip()
        for args in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno"])
    )
    lines.append(f"* git: `{commit or '-'}{' with changes' if changed else ''}`")
    return "\n".join(lines) + "\n"


def history(exp_dir: Path) -> str:
    """The commands of an experiment, with the state of the sources, and the minutes of each stage:
    of its longest run, which is the one that did the work."""
    path = exp_dir / "stages.tsv"
    if not path.exists():
        return ""
    commands: dict[str, None] = {}
    for line in path.read_text().splitlines():
        _, _, command, commit = line.split("\t")
        commands[f"* command: `{command.strip()}` (git: `{commit or '-'}`)\n"] = None
    longest = stage_times(exp_dir)
    cells = [f"{stage}: {seconds / 60:.1f}" for stage, seconds in sorted(longest.items())]
    minutes = f"* minutes of stage {', '.join(cells)}; {sum(longest.values()) / 60:.1f} in all\n\n"
    return "".join(commands) + minutes


def stage_times(exp_dir: Path) -> dict[str, int]:
    """Seconds of each stage's longest run."""
    path, longest = exp_dir / "stages.tsv", {}
    for line in path.read_text().splitlines() if path.exists() else []:
        stage, seconds, *_ = line.split("\t")
        longest[stage] = max(longest.get(stage, 0), int(seconds))
    return longest


def read_json(path: Path) -> dict:
    """A JSON file; empty when there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def read_metrics(exp_dir: Path) -> list[dict]:
    """The lines of metrics.jsonl; none when nothing was trained here."""
    path = exp_dir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def section(exp_dir: Path, figures: str = "") -> str:
    """An experiment's part of RESULTS.md, with links to its figures."""
    text = f"## {exp_dir.name}\n\n{figures}{history(exp_dir)}"
    text += f"{markdown(matrix(read_scores(exp_dir)))}\n"
    return text + "".join(details(exp_dir, unit) for unit in UNITS)


def figures(exp_dir: Path, folder: Path, prefix: str = "") -> str:
    """Draw error rates by scale and, where there are any, training curves; returns their links."""
    scores = read_scores(exp_dir)
    rates: dict[str, dict[str, float]] = {}
    for name in order_sets({name for name, _ in scores}):
        scales = order_scales({s for n, s in scores if n == name})
        rates[name] = {s: scores[name, s].error_rate for s in scales}
    folder.mkdir(parents=True, exist_ok=True)
    plots.error_by_scale(rates, folder / f"{prefix}wer.png")
    links = f"![Word error rate by scale]({prefix}wer.png)\n\n"
    metrics = read_metrics(exp_dir)
    if metrics:
        floor = read_json(exp_dir / "text_floor.json").get("nats_a_token")
        plots.training_curves(metrics, folder / f"{prefix}loss.png", floor)
        links += f"![Loss]({prefix}loss.png)\n\n"
    return links


def examples(exp_dir: Path) -> str:
    """A few utterances, evenly chosen, as said and as heard: a table of the finest scale."""
    scale = order_scales({scale for _, scale in read_scores(exp_dir)})[0]
    folder = exp_dir / f"decode_{scale}"
    texts = {}
    for path in folder.glob("*/score_wer/hyp.trn"):
        texts[path.parents[1].name] = wer.read_trn(path)
    sets = order_sets(set(texts))
    said = wer.read_trn(folder / sets[0] / "score_wer/ref.trn")
    chosen = sorted(said)[:: max(1, len(said) // EXAMPLES)][:EXAMPLES]
    out = f"<h2>Examples at {scale}</h2>\n"
    for utterance in chosen:
        lines = [("said", said[utterance])]
        lines += [(name, texts[name][utterance]) for name in sets if utterance in texts[name]]
        rows = "".join(f"<tr><td>{n}</td><td>{html.escape(t)}</td></tr>\n" for n, t in lines)
        out += f'<h4>{utterance}</h4>\n<table class="texts">\n{rows}</table>\n'
    return out


def write_page(exp_dir: Path) -> Path:
    """exp/<tag>/report/index.html with its figures."""
    folder = exp_dir / "report"
    text = section(exp_dir, figures(exp_dir, folder))
    body = markdown_to_html.markdown(text, extensions=["tables"])
    page = folder / "index.html"
    page.write_text(
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{exp_dir.name}</title>\n'
        f"<style>{STYLE}</style>\n{body}\n{examples(exp_dir)}</html>\n"
    )
    return page


def scored(folder: Path) -> list[Path]:
    """The scored experiments of a folder, but those that stage 3 moved aside."""
    found = {path.parents[2] for path in folder.glob("*/decode_*/*/score.json")}
    return sorted(path for path in found if not re.search(r"\.\d{8}-\d{6}$", path.name))

"""Report: python -m mome.bin.report exp/<tag> [exp/<other> ...] [--results RESULTS.md]

Stage 5 of a recipe. Writes RESULTS.md (date, versions, commands, error rates in ESPnet's columns),
exp/<tag>/report/ (the same as a page, with figures), and prints the table of word error rates.
What was not measured is shown as `-`.
"""

import argparse
import importlib.metadata
import json
import logging
import platform
import re
import subprocess
import time
from pathlib import Path

from mome import plots, wer
from mome.bin import run
from mome.compression import Scale

log = logging.getLogger(__name__)

COLUMNS = "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|\n|---|---|---|---|---|---|---|---|---|\n"


def read_scores(exp_dir: Path) -> dict[tuple[str, str], wer.Counts]:
    """(set, scale) -> word counts, of everything that stage 5 scored."""
    scores = {}
    for path in exp_dir.glob("decode_*/*/score.json"):
        counts = json.loads(path.read_text())
        counts.pop("set")
        scores[path.parent.name, path.parent.parent.name.removeprefix("decode_")] = wer.Counts(
            **counts
        )
    if not scores:
        raise FileNotFoundError(f"{exp_dir} has no scores: run stages 4 and 5")
    return scores


def order_scales(scales: set[str]) -> list[str]:
    """Finest first."""
    return sorted(scales, key=lambda s: (Scale.parse(s).audio or 0, Scale.parse(s).video or 0))


def order_sets(sets: set[str]) -> list[str]:
    """The clean set first, then by noise and falling SNR; video checks behind their set."""

    def key(name: str) -> tuple:
        found = re.fullmatch(r"([a-z]+)(?:_(\w+?)_(-?[\d.]+))?((?:_\w+)?)", name)
        if not found:
            return (9, name)
        noise, snr = found[2] or "", float(found[3] or 0)
        return (0, found[1], noise, -snr, found[4] or "")

    return sorted(sets, key=key)


def matrix(scores: dict[tuple[str, str], wer.Counts]) -> list[list[str]]:
    """Word error rates: a row per test set, a column per scale."""
    scales = order_scales({scale for _, scale in scores})
    rows = [["WER %", *scales]]
    for name in order_sets({name for name, _ in scores}):
        cells = [scores.get((name, scale)) for scale in scales]
        rows.append([name, *(f"{c.error_rate:.1f}" if c else "-" for c in cells)])
    return rows


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


def details(exp_dir: Path, kind: str) -> str:
    """ESPnet's table of one kind of error, read from every result.txt: sets x scales."""
    rows = []
    for path in sorted(exp_dir.glob(f"decode_*/*/score_{kind}/result.txt")):
        total = re.search(r"\| Sum/Avg *\| *(\d+) +(\d+) \| ([^|]*)\|", path.read_text())
        if total:
            name = f"{path.parents[2].name}/{path.parents[1].name}"
            rows.append(f"|{name}|{total[1]}|{total[2]}|{'|'.join(total[3].split())}|\n")
    return f"### {kind.upper()}\n\n{COLUMNS}{''.join(rows)}\n" if rows else ""


def environment() -> str:
    """Date, versions and the state of the sources."""
    packages = ("mome-avsr", "torch", "transformers", "deepspeed", "espnet", "kaldiio", "jiwer")
    lines = [
        f"* date: `{time.strftime('%Y-%m-%d %H:%M')}`",
        f"* python: `{platform.python_version()}`",
    ]
    for name in packages:
        try:
            lines.append(f"* {name}: `{importlib.metadata.version(name)}`")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"* {name}: -")
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True
    )
    state = commit.stdout.strip() or "-"
    lines.append(f"* git: `{state}{' with changes' if changed.stdout.strip() else ''}`")
    return "\n".join(lines) + "\n"


def stage_times(exp_dir: Path) -> str:
    """Minutes of each stage: the longest run of it, which is the one that did the work."""
    path = exp_dir / "stage_times.tsv"
    if not path.exists():
        return ""
    longest: dict[str, int] = {}
    for line in path.read_text().splitlines():
        stage, seconds = line.split("\t")
        longest[stage] = max(longest.get(stage, 0), int(seconds))
    cells = [f"{stage}: {seconds / 60:.1f}" for stage, seconds in sorted(longest.items())]
    return f"Minutes of stage {', '.join(cells)}; {sum(longest.values()) / 60:.1f} in all.\n\n"


def section(exp_dir: Path) -> str:
    """An experiment's part of RESULTS.md."""
    scores = read_scores(exp_dir)
    text = f"## {exp_dir.name}\n\n{markdown(matrix(scores))}\n{stage_times(exp_dir)}"
    return text + "".join(details(exp_dir, kind) for kind in ("wer", "cer", "ter"))


def write_page(exp_dir: Path) -> Path:
    """exp/<tag>/report/: index.md with figures."""
    folder = exp_dir / "report"
    folder.mkdir(exist_ok=True)
    scores = read_scores(exp_dir)
    rates: dict[str, dict[str, float]] = {}
    for name in order_sets({name for name, _ in scores}):
        scales = order_scales({s for n, s in scores if n == name})
        rates[name] = {s: scores[name, s].error_rate for s in scales}
    plots.error_by_scale(rates, folder / "wer.png")
    figures = "![Word error rate by scale](wer.png)\n\n"
    metrics = exp_dir / "metrics.jsonl"
    if metrics.exists():
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        about = exp_dir / "text_floor.json"
        floor = json.loads(about.read_text())["nats_a_token"] if about.exists() else None
        plots.training_curves(lines, folder / "loss.png", floor)
        figures += "![Loss](loss.png)\n\n"
    page = folder / "index.md"
    page.write_text(f"# {exp_dir.name}\n\n{figures}{section(exp_dir)}")
    return page


def main(argv: list[str] | None = None) -> None:
    """Write RESULTS.md and the reports; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exp_dirs", nargs="+", type=Path, help="exp/<tag>, scored by stage 5")
    parser.add_argument("--results", type=Path, default=Path("RESULTS.md"))
    parser.add_argument("--command", default="./run.sh", help="how these results were made")
    args = parser.parse_args(argv)
    pages = [write_page(exp_dir) for exp_dir in args.exp_dirs]
    text = "# Results\n\nGenerated by `mome.bin.report`.\n\n## Environment\n\n"
    text += f"{environment()}* command: `{args.command}`\n\n"
    text += "\n".join(section(exp_dir) for exp_dir in args.exp_dirs)
    beside = args.results.with_suffix(".tmp")
    beside.write_text(text)
    beside.replace(args.results)
    for exp_dir in args.exp_dirs:
        print(f"\n{exp_dir.name}\n{plain(matrix(read_scores(exp_dir)))}")
    print(f"\nreport   {', '.join(str(p.resolve()) for p in pages)}")
    print(f"results  {args.results.resolve()}")


if __name__ == "__main__":
    run(main)

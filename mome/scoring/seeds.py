"""Systems that were trained several times: their mean error rates, and tests of their differences.

A figure of one training run mixes two kinds of chance: which speakers the test set has, and which
seed the run had. A difference of two systems is the mean over the runs of one less that of the
other. Its variance is the sum of two parts:

* of speakers: the errors of both systems on a speaker, each averaged over the runs, less the mean
  difference times the speaker's words. It is the variance of a ratio (Cochran, 1977, "Sampling
  Techniques", §2.11).
* of seeds: the variance of the error rates of the runs of each system, over their number.

The sum is compared with the t distribution; its degrees of freedom are those of Satterthwaite
(1946, "An Approximate Distribution of Estimates of Variance Components", Biometrics Bulletin 2(6)).
With one run of a system the variance of seeds is unknown: the interval is about these runs alone.

A run is an experiment whose name ends in `_seed<number>`; what stands before names the system.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

from mome import config, files
from mome.scoring import tables
from mome.scoring.statistics import LEVEL

NAME = re.compile(r"(?P<system>.+)_seed(?P<seed>\d+)")
HEAD = ["system", "seed", "set", "scale", "speaker", "words", "errors"]

Cell = tuple[str, str]  # set, scale


@dataclass(frozen=True)
class Run:
    """The errors of one training run: `counts[set, scale][speaker]` is (words, errors)."""

    system: str
    seed: int
    counts: dict[Cell, dict[str, tuple[int, int]]]


@dataclass(frozen=True)
class Difference:
    """A difference of two error rates, in per cent of the words, with its 95 % interval.

    Attributes:
        p: two-sided, of the t test.
        seeds_known: whether the variance between seeds is in it.
    """

    value: float
    low: float
    high: float
    p: float
    seeds_known: bool


# ---- read and write -----------------------------------------------------------------------------


def read_experiment(exp_dir: Path) -> Run:
    """The run of a scored experiment. ValueError when its name has no seed or it has no scores."""
    match = NAME.fullmatch(exp_dir.name)
    if not match:
        raise ValueError(f"{exp_dir}: the name of a run ends in _seed<number>")
    counts: dict[Cell, dict[str, tuple[int, int]]] = {}
    for cell, scores in tables.read_score_files(exp_dir).items():
        counts[cell] = {
            speaker: (n["words"], n["substitutions"] + n["deletions"] + n["insertions"])
            for speaker, n in scores["speakers"].items()
        }
    if not counts:
        raise ValueError(f"{exp_dir} has no scores of today's texts: run stages 4 and 5")
    return Run(match["system"], int(match["seed"]), counts)


def check_settings(exp_dirs: list[Path]) -> None:
    """ValueError when two runs of a system differ in more than `train.seed`."""
    first: dict[str, tuple[Path, dict]] = {}
    for exp_dir in exp_dirs:
        settings = config.as_dict(config.load(exp_dir / "config.yaml"))
        settings["train"].pop("seed")
        match = NAME.fullmatch(exp_dir.name)
        assert match is not None  # `read_experiment` has said so
        other, expected = first.setdefault(match["system"], (exp_dir, settings))
        if settings != expected:
            raise ValueError(f"{other} and {exp_dir} differ in more than train.seed")


def read_counts(path: Path) -> list[Run]:
    """The runs of a file that `write_counts` made. ValueError that names a damaged line."""
    found: dict[tuple[str, int], Run] = {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t")
        if next(rows, None) != HEAD:
            raise ValueError(f"{path}, line 1: expected the columns {' '.join(HEAD)}")
        for number, row in enumerate(rows, 2):
            try:
                system, seed, name, scale, speaker, words, errors = row
                run = found.setdefault((system, int(seed)), Run(system, int(seed), {}))
                run.counts.setdefault((name, scale), {})[speaker] = int(words), int(errors)
            except ValueError:
                raise ValueError(f"{path}, line {number}: expected {len(HEAD)} columns") from None
    return list(found.values())


def write_counts(path: Path, runs: Iterable[Run]) -> None:
    """Write words and errors of each run, set, scale and speaker as tab-separated values."""
    lines = ["\t".join(HEAD)]
    for run in sorted(runs, key=lambda r: (r.system, r.seed)):
        for (name, scale), speakers in sorted(run.counts.items()):
            for speaker, counts in sorted(speakers.items()):
                row = (run.system, run.seed, name, scale, speaker, *counts)
                lines.append("\t".join(map(str, row)))
    files.write_text(path, "\n".join(lines) + "\n")


def merge(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of each system by seed. ValueError when runs cannot be compared.

    Of two runs with the same name the later one counts. All must have the same sets, scales,
    speakers and words.
    """
    found = {(run.system, run.seed): run for run in runs}
    words = [
        {c: {s: n for s, (n, _) in by.items()} for c, by in r.counts.items()}
        for r in found.values()
    ]
    for run, mine in zip(found.values(), words, strict=True):
        if mine != words[0]:
            other = next(iter(found.values()))
            raise ValueError(
                f"{run.system}_seed{run.seed} and {other.system}_seed{other.seed} were decoded at"
                " other scales, or on other sets, speakers or words"
            )
    systems: dict[str, list[Run]] = {}
    for _, run in sorted(found.items(), key=lambda item: item[0][1]):
        systems.setdefault(run.system, []).append(run)
    return systems


# ---- rates and differences ----------------------------------------------------------------------


def errors_of(runs: list[Run], cells: list[Cell]) -> tuple[np.ndarray, np.ndarray]:
    """Errors of runs and speakers (S, K), words of speakers (K,), in these cells together."""
    speakers = sorted({speaker for cell in cells for speaker in runs[0].counts[cell]})
    nothing = (0, 0)
    counts_SCK2 = np.array(
        [[[run.counts[c].get(k, nothing) for k in speakers] for c in cells] for run in runs],
        dtype=np.float64,
    )
    return counts_SCK2[..., 1].sum(axis=1), counts_SCK2[0, ..., 0].sum(axis=0)


def rates(errors_SK: np.ndarray, words_K: np.ndarray) -> np.ndarray:
    """Error rates of the runs in per cent (S,)."""
    return 100 * errors_SK.sum(axis=1) / words_K.sum()


def difference(first_SK: np.ndarray, second_SK: np.ndarray, words_K: np.ndarray) -> Difference:
    """The error rate of one system less that of another; errors (S, K) of runs and speakers.

    Raises ValueError for fewer than two speakers.
    """
    num_speakers, num_words = len(words_K), words_K.sum()
    if num_speakers < 2:
        raise ValueError("a difference needs at least two speakers")
    errors_K = first_SK.mean(axis=0) - second_SK.mean(axis=0)
    value = errors_K.sum() / num_words
    rest_K = errors_K - value * words_K
    parts = [num_speakers / (num_speakers - 1) * (rest_K**2).sum() / num_words**2]
    freedom = [num_speakers - 1]
    for errors_SK in (first_SK, second_SK):
        if len(errors_SK) > 1:
            rates_S = errors_SK.sum(axis=1) / num_words
            parts.append(rates_S.var(ddof=1) / len(rates_S))
            freedom.append(len(rates_S) - 1)
    variance = sum(parts)
    if variance == 0:
        low = high = value
        p = 1.0 if value == 0 else 0.0
    else:
        df = variance**2 / sum(v**2 / n for v, n in zip(parts, freedom, strict=True))
        half = special.stdtrit(df, (1 + LEVEL) / 2) * variance**0.5
        low, high = value - half, value + half
        p = 2 * special.stdtr(df, -abs(value) / variance**0.5)
    seeds_known = len(first_SK) > 1 and len(second_SK) > 1
    return Difference(100 * value, 100 * low, 100 * high, float(p), seeds_known)

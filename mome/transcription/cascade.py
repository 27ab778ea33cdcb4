"""A cascade: decode at a cheap scale, and again at a finer one where the model is unsure.

A piece is decoded at the first scale. If its score, the mean log-probability of its tokens, is
below the threshold, it is decoded at the next scale, and that text counts. `mome cascade` chooses
the threshold of two scales on the validation set and keeps it in the model's folder, in FILE:

    {"a16_v5,a4_v2": {"threshold": -0.05, ...}}      null: nothing is decoded twice

The score is what the model believes; sound or pictures unlike those of the validation set can
mislead it. In noise scores fall, so more is decoded twice: at worst all, which costs both scales.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mome import checkpoint, files
from mome.compression import Scale

FILE = "cascade.json"
NEVER = -math.inf  # the threshold below which no score is


@dataclass(frozen=True)
class Cascade:
    """Scales to decode at, the cheapest first, and the score below which to go on to the next.

    Raises ValueError for scales of several tasks, and for one that is no finer than that before.
    """

    scales: tuple[Scale, ...]
    threshold: float = NEVER

    def __post_init__(self) -> None:
        if len({scale.task for scale in self.scales}) != 1:
            raise ValueError(f"the scales of a cascade must be of one task: {self}")
        costs = [scale.tokens_per_second for scale in self.scales]
        if sorted(set(costs)) != costs:
            raise ValueError(f"a cascade goes from the cheapest scale to the finest, not {self}")

    def __str__(self) -> str:
        return ",".join(map(str, self.scales))

    @classmethod
    def parse(cls, name: str) -> "Cascade":
        """`a16_v5,a4_v2`, two scales or more, without a threshold. Raises ValueError."""
        names = name.split(",")
        if len(names) < 2:
            raise ValueError(f"a cascade is written a16_v5,a4_v2, the cheapest first; got {name!r}")
        return cls(tuple(map(Scale.parse, names)))


def coarsest(scales: Sequence[Scale]) -> Scale:
    """The coarsest rate of each stream that any of the scales reads."""
    audio, video = (max(getattr(s, name) or 0 for s in scales) for name in ("audio", "video"))
    return Scale(audio or None, video or None)


def widest(scales: Sequence[Scale]) -> Cascade:
    """From the cheapest to the finest of a model's scales, those of its first task."""
    scales = [scale for scale in scales if scale.task == scales[0].task]
    if len(scales) < 2:
        raise ValueError(f"a cascade needs two scales, and the model has only {scales[0]}")
    order = sorted(scales, key=lambda scale: scale.tokens_per_second)
    return Cascade((order[0], order[-1]))


# ---- the file -----------------------------------------------------------------------------------


def read(model_dir: Path, scales: Cascade) -> tuple[Cascade, dict[str, Any]]:
    """A cascade with its threshold, and all that the file says of it.

    Raises FileNotFoundError when no threshold was chosen for these scales, ValueError when that was
    done for other weights or the file is damaged.
    """
    path = model_dir / FILE
    records = read_all(path)
    if str(scales) not in records:
        found = f"has thresholds for {' and '.join(records)}" if records else "does not exist"
        raise FileNotFoundError(
            f"no threshold was chosen for the cascade {scales} ({path} {found}): decode the"
            " validation set at both scales (mome decode), then run mome cascade exp/<tag>"
            f" --scales {' '.join(map(str, scales.scales))}"
        )
    record = records[str(scales)]
    try:
        threshold = NEVER if record["threshold"] is None else float(record["threshold"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} has no threshold for {scales}: run mome cascade again") from None
    if record.get("weights_sha256") != weights_of(model_dir):
        raise ValueError(f"{path} was made for other weights: run mome cascade again")
    return Cascade(scales.scales, threshold), record


def write(model_dir: Path, cascade: Cascade, about: dict[str, Any]) -> Path:
    """Keep a threshold, and what there is to say about it, beside those of other scales."""
    path = model_dir / FILE
    threshold = None if cascade.threshold == NEVER else cascade.threshold
    own = about | {"threshold": threshold, "weights_sha256": weights_of(model_dir)}
    files.write_json(path, read_all(path) | {str(cascade): own})
    return path


def read_all(path: Path) -> dict[str, Any]:
    """The records of all cascades; ValueError when the file is damaged."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(r, dict) for r in found.values()):
        raise ValueError(f"{path} is damaged: remove it and run mome cascade again")
    return found


def weights_of(model_dir: Path) -> str:
    """The sha256 of the trained weights."""
    return checkpoint.sha256(model_dir / checkpoint.FILE)

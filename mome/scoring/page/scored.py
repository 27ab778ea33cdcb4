"""What is known of a scored experiment, as plain data: the parts of the page are made from it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mome.compression import Scale
from mome.data.set_name import SetName
from mome.scoring import wer

Key = tuple[str, str]  # set, scale


@dataclass
class Scored:
    """An experiment with scores; `reading.read` makes one.

    Attributes:
        exp_dir: exp/<tag>.
        scores: word scores by set and scale.
        intervals: the ends of their 95 % intervals, for those that have one.
        sets, scales: in the order in which they are shown, the finest scale first.
        files: score.json by set and scale.
        metrics: lines of metrics.jsonl, none if nothing was trained.
        floor: loss of a model of the text alone, in nats a token.
        size: numbers of parameters, see `tables.SIZES`; what is not known is left out.
        config: config.yaml by section; empty when there is none.
        mouths: base of a set -> utterance -> file of its mouth crops, where there are crops.
        sounds: set -> utterance -> sound file, where there are sounds.
        data_dir, mouths_dir: where sounds and crops were looked for.
        align: set, scale -> the score with the alignment of each utterance.
    """

    exp_dir: Path
    scores: dict[Key, wer.Score]
    intervals: dict[Key, tuple[float, float]]
    sets: list[str]
    scales: list[str]
    files: dict[Key, dict[str, Any]]
    metrics: list[dict]
    floor: float | None
    size: dict[str, int]
    config: dict[str, Any]
    mouths: dict[str, dict[str, str]]
    sounds: dict[str, dict[str, str]]
    data_dir: Path
    mouths_dir: Path
    align: Callable[[str, str], wer.Score]

    @property
    def tag(self) -> str:
        return self.exp_dir.name

    @cached_property
    def main_sets(self) -> list[str]:
        """The sets with their own video, the clean one first."""
        own = [name for name in self.sets if SetName.parse(name).video == "own"]
        return own or self.sets

    @property
    def clean(self) -> str:
        return self.main_sets[0]

    @cached_property
    def hardest(self) -> str:
        """The main set with the highest error rate at the finest scale that it has."""
        return max(self.main_sets, key=lambda name: self.scores[name, self.finest(name)].error_rate)

    def finest(self, name: str) -> str:
        """The finest scale of a set."""
        return next(scale for scale in self.scales if (name, scale) in self.scores)

    def coarsest(self, name: str) -> str:
        """The coarsest scale of a set."""
        return next(scale for scale in reversed(self.scales) if (name, scale) in self.scores)

    @cached_property
    def reads_video(self) -> bool:
        return any(Scale.parse(scale).video for scale in self.scales)

    def rates(self, name: str) -> dict[str, float]:
        """Scale -> error rate of a set in per cent, for those with words."""
        found = {scale: self.scores.get((name, scale)) for scale in self.scales}
        return {scale: score.error_rate for scale, score in found.items() if score and score.words}

    def ends(self, name: str, scale: str) -> tuple[float | None, float | None]:
        """The ends of an interval, or None and None."""
        return self.intervals.get((name, scale), (None, None))

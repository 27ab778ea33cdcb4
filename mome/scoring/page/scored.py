"""What stages 3 to 5 left of an experiment, read once for the page."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from espnet2.fileio.read_text import read_2columns_text

from mome.compression import Scale
from mome.data.set_name import SetName
from mome.scoring import sets, statistics, tables, wer

Key = tuple[str, str]  # set, scale


@dataclass
class Scored:
    """An experiment with scores; alignments and intervals are found when they are asked for.

    Attributes:
        data_dir: holds the data directories of the test sets, for sounds and speakers.
        mouths_dir: holds the mouth crops of the sets.
    """

    exp_dir: Path
    data_dir: Path
    mouths_dir: Path
    _aligned: dict[Key, wer.Score] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        return self.exp_dir.name

    @cached_property
    def scores(self) -> tables.Scores:
        return tables.read_scores(self.exp_dir)

    @cached_property
    def scales(self) -> list[str]:
        """All scales, the finest first."""
        return tables.order_scales({scale for _, scale in self.scores})

    @cached_property
    def sets(self) -> list[str]:
        return tables.order_sets({name for name, _ in self.scores})

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
    def config(self) -> dict[str, Any]:
        """config.yaml by section; empty when there is none."""
        path = self.exp_dir / "config.yaml"
        return yaml.safe_load(path.read_text()) if path.exists() else {}

    @cached_property
    def reads_video(self) -> bool:
        return any(Scale.parse(scale).video for scale in self.scales)

    @cached_property
    def files(self) -> dict[Key, dict]:
        """score.json of each set and scale."""
        return tables.read_score_files(self.exp_dir)

    def aligned(self, name: str, scale: str) -> wer.Score:
        """A set at a scale with the alignment of each utterance."""
        if (name, scale) not in self._aligned:
            folder = self.exp_dir / f"decode_{scale}" / name / "score_wer"
            rules = self.files[name, scale].get("rules", {})
            found = sets.read_aligned(folder, rules.get("alignment", "levenshtein"))
            self._aligned[name, scale] = found
        return self._aligned[name, scale]

    @cached_property
    def intervals(self) -> dict[Key, statistics.Interval]:
        """The 95 % interval of each word error rate that has one."""
        return tables.read_intervals(self.exp_dir)

    def speakers(self, name: str, scale: str) -> dict[str, str]:
        """Speaker -> error rate with its interval; empty without this set and scale."""
        found = {}
        for speaker, values in self.files.get((name, scale), {}).get("speakers", {}).items():
            counts = {key: n for key, n in values.items() if key != "interval"}
            ends = values.get("interval")
            interval = statistics.Interval(**ends) if ends else None
            found[speaker] = tables.with_interval(wer.Score(**counts), interval)
        return found

    def ends(self, name: str, scale: str) -> tuple[float | None, float | None]:
        """The ends of an interval, or None and None."""
        interval = self.intervals.get((name, scale))
        return (interval.low, interval.high) if interval else (None, None)

    def table(self, name: str, table: str) -> dict[str, str]:
        """A table of the data directory of a set, such as wav.scp; empty if it is not there."""
        path = self.data_dir / str(SetName.parse(name).with_video("own")) / table
        return read_2columns_text(path) if path.exists() else {}

    @cached_property
    def mouths(self) -> dict[str, dict[str, str]]:
        """Base of a set -> utterance -> file of its mouth crops, for those with a mouths.scp."""
        bases = {SetName.parse(name).base for name in self.sets}
        paths = {base: self.mouths_dir / base / "mouths.scp" for base in sorted(bases)}
        return {base: read_2columns_text(p) for base, p in paths.items() if p.exists()}

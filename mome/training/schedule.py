"""How long a training run is, and what it does after which step."""

import math
from dataclasses import dataclass

from mome.config import TrainConfig
from mome.data.dataset import Sampler


@dataclass(frozen=True)
class Schedule:
    """The number of steps, and what is due when. `epoch_ends` is empty without `num_epochs`."""

    cfg: TrainConfig
    num_steps: int
    epoch_ends: tuple[int, ...] = ()  # how many steps have been taken at the end of each epoch

    @classmethod
    def of(cls, cfg: TrainConfig, sampler: Sampler) -> "Schedule":
        """The schedule of `num_steps`, or of `num_epochs` of what the sampler gives."""
        if not cfg.num_epochs:
            return cls(cfg, cfg.num_steps)
        ends = sampler.epoch_ends(cfg.num_epochs)
        return cls(cfg, ends[-1], tuple(ends))

    def learning_rate(self, step: int) -> float:
        """That of step 0, 1, ...: a cosine to 0 (MoME A.3), after a linear warm-up (ours)."""
        warmup = self.cfg.lr_warmup_steps
        if step < warmup:
            return self.cfg.lr * (step + 1) / warmup
        done = (step - warmup) / max(1, self.num_steps - warmup)
        return self.cfg.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def validates_after(self, step: int) -> bool:
        """Whether a run that has taken so many steps validates now."""
        return self._is_due(step, self.cfg.valid_every)

    def saves_after(self, step: int) -> bool:
        """Whether it writes a checkpoint now."""
        return self._is_due(step, self.cfg.save_every)

    def _is_due(self, step: int, every: int) -> bool:
        in_time = step % every == 0 if every else step in self.epoch_ends
        return in_time or step == self.num_steps

    def describe(self) -> str:
        """One line about the length."""
        if not self.epoch_ends:
            return f"{self.num_steps} steps"
        return (
            f"{self.cfg.num_epochs} epochs are {self.num_steps} steps; the first ends with step"
            f" {self.epoch_ends[0]}"
        )

"""Bookkeeping of a training run: its step, what it measures, and what it keeps on disk."""

import json
import logging
import math
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from espnet2.train.reporter import Reporter, SubReporter
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mome import checkpoint, files
from mome.config import Config, TrainConfig
from mome.data.dataset import FeatureDataset, Pick, plan, to_device
from mome.training.distributed import clock, gathered, mean_over_devices, total

log = logging.getLogger(__name__)

LOG_EVERY = 20  # steps


class Trainer:
    """Measures, validates, saves and resumes; the loop in `mome.bin.train` takes the steps.

    `base` and `floor` are as `mome.training.experiment` makes them.
    """

    def __init__(
        self,
        engine: Any,
        cfg: Config,
        exp_dir: Path,
        valid: FeatureDataset,
        base: dict,
        floor: float,
    ):
        self.engine, self.cfg, self.exp_dir, self.valid = engine, cfg, exp_dir, valid
        self.base, self.floor = base, floor
        self.step, self.best_loss, self.num_tokens = 0, math.inf, 0.0
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.start_time, self.start_step = time.monotonic(), 0
        self.reporter = Reporter()
        self.report: SubReporter = self.reporter.start_epoch("train", 1)  # since a validation
        self.board = SummaryWriter(str(exp_dir / "tensorboard")) if self.rank == 0 else None
        self.metrics_path = exp_dir / "metrics.jsonl"
        self.batch_stats: list[tuple[dict[str, float], float]] = []  # of the step so far, here
        self.llm_tokens = 0.0  # prompt and text of the step so far, over its scales, here
        self.asked_to_stop = False
        signal.signal(signal.SIGTERM, self._stop)  # a cluster sends it before it takes a node away

    def add(self, stats: dict[str, Tensor], weight: Tensor) -> None:
        """Keep what a batch measured until its step is done."""
        values = {name: value.item() for name, value in stats.items()}
        self.llm_tokens += values.pop("llm_tokens")
        self.batch_stats.append((values, weight.item()))

    def end_step(self, lr: float, num_tokens: float) -> None:
        """Count a step, write it to metrics.jsonl, and log a line every `LOG_EVERY` steps."""
        self.step += 1
        stats = mean_over_devices(self.batch_stats)
        llm_tokens = total(self.llm_tokens, self.engine.device)
        self.batch_stats, self.llm_tokens = [], 0.0
        self.num_tokens += num_tokens
        grad_norm = self.engine.get_global_grad_norm()
        if self.rank:
            return
        stats["lr"] = lr
        if grad_norm is not None:  # DeepSpeed keeps none in float32 without ZeRO
            stats["grad_norm"] = float(grad_norm)
        self.report.register(stats, weight=num_tokens)
        self.report.next()
        sizes = {"text_tokens": int(num_tokens), "llm_tokens": int(llm_tokens)}
        self._write_metrics(sizes | stats)
        if self.step % LOG_EVERY == 0:
            num_steps, spent = self.cfg.train.num_steps, time.monotonic() - self.start_time
            left = spent / (self.step - self.start_step) * (num_steps - self.step)
            loss = mean_of_last(self.report, "cross_entropy", LOG_EVERY)
            log.info(
                f"step {self.step}/{num_steps}: loss {loss:.3f} (text alone {self.floor:.2f}),"
                f" lr {lr:.1e}, {self.num_tokens / spent:.0f} text tokens/s, {clock(left)} left"
            )
            self.report.tensorboard_add_scalar(self.board, start=-LOG_EVERY)

    def validate(self) -> None:
        """Loss on the validation set at each scale; the best model so far goes to best/."""
        self.engine.eval()
        stats = mean_over_devices(self._validation_stats())
        self.engine.train()
        if self.rank == 0:
            with self.reporter.observe("valid", self.report.epoch) as valid:
                valid.register(stats, weight=1)
                valid.next()
                valid.tensorboard_add_scalar(self.board)
            self._write_metrics({f"valid_{name}": value for name, value in stats.items()})
            losses = {k[5:]: v for k, v in stats.items() if k.startswith("loss_")}
            scales = ", ".join(f"{scale} {value:.3f}" for scale, value in losses.items())
            log.info(f"step {self.step}: validation loss {stats['loss']:.3f} ({scales})")
            self.reporter.finish_epoch(self.report)
            self.report = self.reporter.start_epoch("train", self.report.epoch + 1)
        if stats["loss"] < self.best_loss:
            self.best_loss = stats["loss"]
            self._write_weights(self.exp_dir / "best")

    def _validation_stats(self) -> list[tuple[dict[str, float], float]]:
        """Values and weight of each validation batch that this device counts."""
        lengths = [self.valid.length(i) for i in range(len(self.valid))]
        batch_stats = []
        for k, indices in enumerate(plan(lengths, self.cfg.train.max_frames, rng=None)):
            is_mine = k % self.world == self.rank
            # Under ZeRO 3 every device takes part in every batch.
            if not is_mine and self.engine.zero_optimization_stage() != 3:
                continue
            batch = self.valid.collate([Pick(i) for i in indices])
            with torch.no_grad():
                _, stats, weight = self.engine(**to_device(batch, self.engine.device))
            if is_mine:
                values = {name: value.item() for name, value in stats.items()}
                batch_stats.append((values, weight.item()))
        return batch_stats

    def save(self) -> None:
        """Write checkpoints/step_<n>/ (weights, optimiser, step) and delete the oldest ones."""
        folder, tag = self.exp_dir / "checkpoints", f"step_{self.step}"
        self._write_weights(folder / tag)
        dist.barrier()
        state = {"step": self.step, "best": self.best_loss}
        self.engine.save_checkpoint(
            str(folder), tag=tag, client_state=state, exclude_frozen_parameters=True
        )
        if self.rank == 0:
            for old in checkpoint.steps(self.exp_dir)[: -self.cfg.train.keep_checkpoints]:
                shutil.rmtree(old)
        dist.barrier()  # a process that ended now would end the others too

    def resume(self) -> None:
        """Continue from the newest checkpoint; ValueError when there is none."""
        folder = self.exp_dir / "checkpoints"
        path, state = self.engine.load_checkpoint(str(folder), load_module_strict=False)
        if path is None:
            raise ValueError(f"{folder} holds no readable checkpoint: delete it to start anew")
        self.step = self.start_step = state["step"]
        self.best_loss = state["best"]
        if self.rank == 0 and self.metrics_path.exists():  # steps after the checkpoint are redone
            lines = self.metrics_path.read_text().splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            files.write_text(self.metrics_path, "".join(line + "\n" for line in kept))
        log.info(f"resumed after step {self.step} from {path}")

    def close(self) -> None:
        """Finish the TensorBoard file."""
        if self.board:
            self.board.close()

    def _write_weights(self, model_dir: Path) -> None:
        weights = self.engine.module.trained()
        with gathered(list(weights.values())):
            if self.rank == 0:
                checkpoint.save(model_dir, weights, self.cfg, self.base)

    def _write_metrics(self, values: dict) -> None:
        with self.metrics_path.open("a") as file:
            file.write(json.dumps({"step": self.step, **values}) + "\n")

    def _stop(self, *_: object) -> None:
        self.asked_to_stop = True


def learning_rate(step: int, cfg: TrainConfig) -> float:
    """A cosine to 0 at the last step (MoME §A.3), after a linear warm-up (ours)."""
    if step < cfg.lr_warmup_steps:
        return cfg.lr * (step + 1) / cfg.lr_warmup_steps
    done = (step - cfg.lr_warmup_steps) / max(1, cfg.num_steps - cfg.lr_warmup_steps)
    return cfg.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def num_targets(batch: dict) -> int:
    """Text tokens of a batch, an EOS for each utterance included."""
    return int(batch["text_lengths"].sum()) + len(batch["text_lengths"])


def mean_of_last(report: SubReporter, name: str, count: int) -> float:
    """Weighted mean of the last `count` values that a Reporter holds."""
    values = report.stats[name][-count:]
    weight = sum(v.weight for v in values)
    return sum(v.value * v.weight for v in values) / weight if weight else math.nan

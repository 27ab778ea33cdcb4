"""Bookkeeping of a training run: its step, what it measures, and what it keeps on disk."""

import itertools
import json
import logging
import math
import shutil
import signal
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from espnet2.train.reporter import Reporter, SubReporter
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mome import checkpoint, files
from mome.compression import Scale
from mome.config import Config
from mome.data.dataset import Draw, FeatureDataset, Pick, plan
from mome.training import saved_states
from mome.training.distributed import OnHost, clock, gathered, means, sums_over_devices
from mome.training.loader import ReadAhead
from mome.training.schedule import Schedule

log = logging.getLogger(__name__)

LOG_EVERY = 20  # steps
Batch = tuple[Tensor, Sequence[str]]  # its loss, on the device, and its utterances


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
        schedule: Schedule,
    ):
        self.engine, self.cfg, self.exp_dir, self.schedule = engine, cfg, exp_dir, schedule
        self.base, self.floor = base, floor
        self.step, self.best_loss, self.num_tokens = 0, math.inf, 0.0
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.batches_a_step = self.world * cfg.train.accumulation
        self.start_time, self.start_step = time.monotonic(), 0
        self.reporter = Reporter()
        self.report: SubReporter = self.reporter.start_epoch("train", 1)  # since a validation
        self.board = SummaryWriter(str(exp_dir / "tensorboard")) if self.rank == 0 else None
        self.metrics_path = exp_dir / "metrics.jsonl"
        # Of the step so far, here. All stays on the device until the step is written.
        self.batch_stats: list[tuple[dict[str, Tensor], Tensor]] = []
        self.batches: list[Batch] = []
        self.llm_tokens: float | Tensor = 0.0  # prompt and text, over the scales
        self.names = names_of_stats(engine.module.scales)
        # Steps that the device may still be working on: a GPU computes the next step meanwhile.
        self.unwritten: deque[tuple[int, float, float, OnHost, list[Batch]]] = deque()
        self.most_unwritten = int(engine.device.type == "cuda")
        self.step_began = self.start_time
        self.seconds = self.seconds_waited = 0.0  # in the steps since the last log line
        self.asked_to_stop = False  # this process
        self.stop = False  # all processes, known to all of them at the same step
        self._open_valid(valid)
        signal.signal(signal.SIGTERM, self._stop)  # a cluster sends it before it takes a node away

    def _open_valid(self, valid: FeatureDataset) -> None:
        """Choose the validation batches that this device counts."""
        self.valid_dir = valid.dir
        lengths = [valid.length(i) for i in range(len(valid))]
        batches = plan(lengths, self.cfg.train.max_frames, rng=None)
        own = batches[self.rank :: self.world]
        self.num_valid_batches = len(own)
        if self.engine.zero_optimization_stage() == 3:  # equally many for each device
            own += batches[: -(-len(batches) // self.world) - len(own)]
        draws: list[Draw] = [([Pick(i) for i in indices], None) for indices in own]
        self.valid = ReadAhead(valid, draws, self.cfg.train.data_workers, self.engine.device)

    def add(self, stats: dict[str, Tensor], weight: Tensor, utterances: Sequence[str] = ()) -> None:
        """Keep what a batch measured until its step is done."""
        self.batches.append((stats["loss"], utterances))
        self.llm_tokens = self.llm_tokens + stats["llm_tokens"]
        self.batch_stats.append(({k: v for k, v in stats.items() if k != "llm_tokens"}, weight))

    def end_step(self, lr: float, seconds_waited: float) -> None:
        """Count a step, write it to metrics.jsonl, and log a line every `LOG_EVERY` steps."""
        self.step += 1
        numbers = (self.llm_tokens, seconds_waited / self.world, self.asked_to_stop)
        sums = sums_over_devices(self.batch_stats, self.names, self.engine.device, numbers)
        grad_norm = self.engine.get_global_grad_norm()
        if grad_norm is not None:
            sums = torch.cat([sums, sums.new_zeros(1) + grad_norm])
        now = time.monotonic()
        self.unwritten.append((self.step, lr, now - self.step_began, OnHost(sums), self.batches))
        self.batch_stats, self.batches, self.llm_tokens = [], [], 0.0
        self.step_began = now
        self._write_steps(self.most_unwritten)

    def _write_steps(self, most_unwritten: int = 0) -> None:
        """Write the oldest steps, until so many are left."""
        while len(self.unwritten) > most_unwritten:
            step, lr, seconds, on_host, batches = self.unwritten.popleft()
            numbers = on_host.tolist()
            if not all(map(math.isfinite, numbers)):
                self._stop_at_not_finite(step, batches)
            self._write_step(step, lr, seconds, numbers)

    def _write_step(self, step: int, lr: float, seconds: float, numbers: list[float]) -> None:
        stats, n = means(numbers, self.names), len(self.names)
        text_tokens = numbers[n]  # the weight of "loss", which every batch has
        llm_tokens, waited, num_asked, *grad_norm = numbers[2 * n :]
        self.stop = num_asked > 0
        self.num_tokens += text_tokens
        if self.rank:
            return
        stats["lr"] = lr
        if grad_norm:
            stats["grad_norm"] = grad_norm[0]
        self.report.register(stats, weight=text_tokens)
        self.report.next()
        sizes = {"text_tokens": int(text_tokens), "llm_tokens": int(llm_tokens)}
        self._write_metrics(step, sizes | stats)
        self.seconds += seconds
        self.seconds_waited += waited
        if step % LOG_EVERY == 0:
            self._log_step(step, lr)

    def _stop_at_not_finite(self, step: int, batches: list[Batch]) -> None:
        """Raise ValueError on all devices, which have the same sums, before anything is saved.

        Only now are the losses of single batches read from the device.
        """
        own = [(math.isfinite(loss.item()), utterances) for loss, utterances in batches]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, own)
        every = [pair for pairs in found for pair in pairs]
        in_loss = [pair for pair in every if not pair[0]]
        names = [utterance for _, utterances in in_loss or every for utterance in utterances]
        list_path = self.exp_dir / "not_finite.txt"
        if self.rank == 0:
            files.write_text(list_path, "".join(f"{name}\n" for name in names))
        what = "loss" if in_loss else "gradient"
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        saved = checkpoint.steps(self.exp_dir)
        raise ValueError(
            f"step {step}: the {what} is not finite in the batch of {shown}, all in {list_path}:"
            " look at them, or lower train.lr; the last checkpoint is"
            f" {saved[-1] if saved else 'none'}, and --resume continues from it"
        )

    def _log_step(self, step: int, lr: float) -> None:
        num_steps, spent = self.schedule.num_steps, time.monotonic() - self.start_time
        left = spent / (step - self.start_step) * (num_steps - step)
        loss = mean_of_last(self.report, "cross_entropy", LOG_EVERY)
        data_wait = self.seconds_waited / self.seconds
        self.seconds = self.seconds_waited = 0.0
        self.report.tensorboard_add_scalar(self.board, start=-LOG_EVERY)
        if self.board:
            self.board.add_scalar("data_wait", data_wait, self.report.total_count)
        self._write_metrics(step, {"data_wait": data_wait})  # apart: it differs from run to run
        log.info(
            f"step {step}/{num_steps}: loss {loss:.3f} (text alone {self.floor:.2f}), lr {lr:.1e},"
            f" {self.num_tokens / spent:.0f} text tokens/s,"
            f" waiting for data {100 * data_wait:.1f} %, {clock(left)} left"
        )

    def validate(self) -> None:
        """Loss on the validation set at each scale; the best model so far goes to best/."""
        self._write_steps()
        self.engine.eval()
        with torch.no_grad():
            found = [self.engine(**batch)[1:] for batch in self.valid][: self.num_valid_batches]
        self.engine.train()
        sums = sums_over_devices(found, self.names, self.engine.device)
        stats = means(sums.tolist(), self.names)
        if not math.isfinite(stats["loss"]):
            raise ValueError(
                f"step {self.step}: the validation loss is {stats['loss']}: lower train.lr, or look"
                f" at the set {self.valid_dir}; nothing was saved after the last checkpoint"
            )
        if self.rank == 0:
            with self.reporter.observe("valid", self.report.epoch) as valid:
                valid.register(stats, weight=1)
                valid.next()
                valid.tensorboard_add_scalar(self.board)
            self._write_metrics(self.step, {f"valid_{name}": x for name, x in stats.items()})
            losses = {k[5:]: v for k, v in stats.items() if k.startswith("loss_")}
            scales = ", ".join(f"{scale} {value:.3f}" for scale, value in losses.items())
            log.info(f"step {self.step}: validation loss {stats['loss']:.3f} ({scales})")
            self.reporter.finish_epoch(self.report)
            self.report = self.reporter.start_epoch("train", self.report.epoch + 1)
        if stats["loss"] < self.best_loss:
            self.best_loss = stats["loss"]
            self._write_weights(self.exp_dir / "best")
        self.step_began = time.monotonic()

    def save(self) -> None:
        """Write checkpoints/step_<n>/ (weights, optimiser, step) and delete the oldest ones."""
        self._write_steps()  # a resumed run keeps the lines up to its checkpoint
        folder, tag = self.exp_dir / "checkpoints", f"step_{self.step}"
        self._write_weights(folder / tag)
        dist.barrier()
        state = {"step": self.step, "best": self.best_loss, "batches_a_step": self.batches_a_step}
        with saved_states.writing(folder / tag):
            self.engine.save_checkpoint(
                str(folder), tag=tag, client_state=state, exclude_frozen_parameters=True
            )
        if self.rank == 0:
            for old in checkpoint.steps(self.exp_dir)[: -self.cfg.train.keep_checkpoints]:
                shutil.rmtree(old)
        dist.barrier()  # a process that ended now would end the others too
        self.step_began = time.monotonic()

    def resume(self, tag: str) -> None:
        """Continue from checkpoints/<tag>; ValueError when its state is that of another run."""
        state = saved_states.load(self.engine, self.exp_dir, tag)
        then, now = state.get("batches_a_step"), self.batches_a_step
        if self.cfg.train.num_epochs and then not in (None, now):
            raise ValueError(
                f"{self.exp_dir}/checkpoints/{tag} was made with {then} batches a step and this run"
                f" has {now}, so its epochs would be others: train on as many devices as before, or"
                " give --tag a new name"
            )
        self.step = self.start_step = state["step"]
        self.best_loss = state["best"]
        if self.rank == 0 and self.metrics_path.exists():  # steps after the checkpoint are redone
            lines = self.metrics_path.read_text().splitlines()
            kept = itertools.takewhile(lambda line: step_of(line) <= self.step, lines)
            files.write_text(self.metrics_path, "".join(line + "\n" for line in kept))
        log.info(f"resumed after step {self.step} from {self.exp_dir}/checkpoints/{tag}")

    def close(self) -> None:
        """Finish the TensorBoard file."""
        if self.board:
            self.board.close()

    def _write_weights(self, model_dir: Path) -> None:
        weights = self.engine.module.trained()
        with gathered(list(weights.values())):
            for name, weight in weights.items():
                if not weight.isfinite().all():  # of a step whose loss was finite, not its gradient
                    raise ValueError(
                        f"step {self.step}: the weights {name} are not finite, so {model_dir} is"
                        " not written: lower train.lr; --resume continues from the checkpoint"
                        " before"
                    )
            if self.rank == 0:
                with saved_states.writing(model_dir):
                    checkpoint.save(model_dir, weights, self.cfg, self.base)

    def _write_metrics(self, step: int, values: dict) -> None:
        with self.metrics_path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def _stop(self, *_: object) -> None:
        self.asked_to_stop = True


def step_of(line: str) -> float:
    """The step of a line of metrics.jsonl; infinite when the line was cut off."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return math.inf


def names_of_stats(scales: list[Scale]) -> list[str]:
    """The names of what a MoMEModel measures, the token counts apart."""
    per_scale = [f"{kind}_{scale}" for scale in scales for kind in ("loss", "balance")]
    return ["loss", "cross_entropy", "ctc", *per_scale]


def mean_of_last(report: SubReporter, name: str, count: int) -> float:
    """Weighted mean of the last `count` values that a Reporter holds."""
    values = report.stats[name][-count:]
    weight = sum(v.weight for v in values)
    return sum(v.value * v.weight for v in values) / weight if weight else math.nan

"""Warm up the projectors by CTC against the LLM's embedding table (see mome/alignment.py).

Ours, not the paper's. The LLM itself is not run, so a hundred steps take seconds.
"""

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from mome import checkpoint
from mome.config import Config, TrainConfig
from mome.data.dataset import Draw, FeatureDataset, Pick
from mome.model import MoMEModel
from mome.training.distributed import agreed, clock
from mome.training.loader import ReadAhead

log = logging.getLogger(__name__)


def prepare_projectors(
    model: MoMEModel,
    data: FeatureDataset,
    cfg: Config,
    exp_dir: Path,
    base: dict,
    device: torch.device,
) -> None:
    """Warm up, then read the result, exp_dir/warmup, on all processes.

    With `train.ctc_warmup.start_from`, read the result of another run instead.
    """
    warmup, warm_dir = cfg.train.ctc_warmup, exp_dir / "warmup"
    if warmup.num_steps:
        if not agreed(warm_dir.exists()):
            warm_up(model, data, cfg.train, device)
            if dist.get_rank() == 0:
                checkpoint.save(warm_dir, model.trained(), cfg, base)
        dist.barrier()
        checkpoint.copy_parts(model, warm_dir, [""])
    if warmup.start_from:
        checkpoint.copy_parts(model, warmup.start_from, ["projectors.", "prompt.", "alignment."])


def warm_up(model: MoMEModel, data: FeatureDataset, cfg: TrainConfig, device: torch.device) -> None:
    """Train the projectors of a model that has an `alignment`; progress goes to the log.

    The processes share each batch; where it cannot be divided, some have one utterance less.
    """
    assert model.alignment is not None
    warmup = cfg.ctc_warmup
    world, rank = dist.get_world_size(), dist.get_rank()
    trained = [*model.projectors.parameters(), *model.alignment.parameters()]
    optimizer = torch.optim.AdamW(trained, warmup.lr, weight_decay=0.01)
    start, mean = time.monotonic(), torch.tensor(math.nan)
    draws = warmup_draws(data, list(map(str, model.scales)), cfg, rank, world)
    for step, batch in enumerate(ReadAhead(data, draws, cfg.data_workers, device)):
        for group in optimizer.param_groups:
            group["lr"] = warmup.lr * max(0.02, 1 - step / warmup.num_steps)
        loss = model.ctc_loss(**batch)
        optimizer.zero_grad()
        (loss / world).backward()
        # None: a projector of another rate
        sum_gradients([p.grad for p in trained if p.grad is not None])
        optimizer.step()
        loss = loss.detach()
        mean = loss if step == 0 else 0.95 * mean + 0.05 * loss
        if (step + 1) % 100 == 0 or step + 1 == warmup.num_steps:
            if not math.isfinite(mean):
                raise ValueError(
                    f"projector warm-up: the CTC loss is not finite before step {step + 1}: lower"
                    " train.ctc_warmup.lr, or set train.ctc_warmup.num_steps=0"
                )
            left = (time.monotonic() - start) / (step + 1) * (warmup.num_steps - step - 1)
            log.info(
                f"projector warm-up {step + 1}/{warmup.num_steps}: CTC loss {mean:.3f},"
                f" {clock(left)} left"
            )
    optimizer.zero_grad()  # the engine would add gradients that are left to its first step


def sum_gradients(gradients: list[Tensor]) -> None:
    """Sum over the processes, in place. One transfer: each costs milliseconds on busy cores."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def warmup_draws(
    data: FeatureDataset, scales: list[str], cfg: TrainConfig, rank: int, world: int
) -> Iterator[Draw]:
    """A process's parts of the batches: utterances of any length and a scale, drawn for each.

    Each process gets as many of the short utterances as of the long ones, so none waits long.
    """
    rng, num_noisy = np.random.default_rng([cfg.seed, 1]), data.source.num_noisy
    size = min(max(cfg.ctc_warmup.batch_size, world), len(data))
    for step in range(cfg.ctc_warmup.num_steps):
        picks = []
        for i in rng.choice(len(data), size, replace=False):
            noisy = num_noisy and rng.random() < cfg.noisy_share
            copy = int(rng.integers(num_noisy)) + 1 if noisy else 0
            picks.append(Pick(int(i), copy, seed=(cfg.seed, 1, step, int(i))))
        picks.sort(key=lambda pick: data.length(pick.index))
        yield picks[rank % size :: world], [scales[rng.integers(len(scales))]]

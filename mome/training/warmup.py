"""The projectors' warm-up: they alone, by CTC against the LLM's embeddings (see mome/alignment.py).

Ours, not the paper's: a hundred steps take seconds, for the LLM itself is not run.
"""

import logging
import math
import time

import numpy as np
import torch

from mome.config import TrainConfig
from mome.data.dataset import FeatureDataset, Pick, to_device
from mome.model import MoMEModel
from mome.training.experiment import clock

log = logging.getLogger(__name__)


def warm_up(model: MoMEModel, data: FeatureDataset, cfg: TrainConfig, device) -> None:
    """Train the projectors of a model that has an `alignment`; progress goes to the log."""
    warmup = cfg.ctc_warmup
    trained = [*model.projectors.parameters(), *model.alignment.parameters()]
    optimizer = torch.optim.AdamW(trained, warmup.lr, weight_decay=0.01)
    rng = np.random.default_rng([cfg.seed, 1])
    start, mean = time.monotonic(), math.nan
    for step in range(warmup.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = warmup.lr * max(0.02, 1 - step / warmup.num_steps)
        picks = []
        copies = data.source.num_noisy
        for i in rng.choice(len(data), min(warmup.batch_size, len(data)), replace=False):
            noisy = copies and rng.random() < cfg.noisy_share
            copy = int(rng.integers(copies)) + 1 if noisy else 0
            picks.append(Pick(int(i), copy, seed=(cfg.seed, 1, step, int(i))))
        loss = model.ctc_loss(**to_device(data.collate(picks), device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.item() if step == 0 else 0.95 * mean + 0.05 * loss.item()
        if (step + 1) % 100 == 0 or step + 1 == warmup.num_steps:
            left = (time.monotonic() - start) / (step + 1) * (warmup.num_steps - step - 1)
            log.info(
                f"projector warm-up {step + 1}/{warmup.num_steps}: CTC loss {mean:.3f},"
                f" {clock(left)} left"
            )
    optimizer.zero_grad()  # the engine would add what is left here to its first step

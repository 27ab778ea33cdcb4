"""Run by test_not_finite.py in two processes: training runs of which each spoils one batch.

Its arguments are "<ZeRO stage> <precision> <loss or gradient> <process> <batch>", one for each run.
The process spoils its batch of that number. How its runs ended is written to ended_<rank>.json.
"""

import json
import logging
import math
import os
import sys
from pathlib import Path

import torch.distributed as dist

from mome.bin import train
from mome.model import MoMEModel
from mome.training import distributed

SETTINGS = ["train.save_every=2", "train.valid_every=100", "train.num_steps=6"]
SETTINGS += ["train.ctc_warmup.num_steps=0", "train.data_workers=0", "train.scales_per_step=0"]
forward = MoMEModel.forward


def spoil(kind: str, rank: int, at: int) -> dict:
    """Spoil a batch of process `rank` from now on; the result will hold its utterances."""
    seen = {"batches": 0, "utterances": []}

    def spoiled(self, **batch):
        loss, stats, weight = forward(self, **batch)
        seen["batches"] += self.training
        if self.training and seen["batches"] == at and dist.get_rank() == rank:
            seen["utterances"] = batch["utterances"]
            if kind == "gradient":
                loss.register_hook(lambda gradient: gradient * math.inf)
            else:
                loss = loss * math.nan
                stats["loss"] = loss.detach()
        return loss, stats, weight

    MoMEModel.forward = spoiled
    return seen


def run(name: str) -> dict:
    """Train in exp/<name> until it ends; the error and the utterances that this process spoiled."""
    zero, dtype, kind, rank, at = name.split()
    seen = spoil(kind, int(rank), int(at))
    argv = ["--config", "train.yaml", "--train_set", "dump/feats/train", "--resume"]
    argv += ["--valid_set", "dump/feats/valid", "--exp_dir", f"exp/{name}", *SETTINGS]
    argv += [f"train.deepspeed=zero{zero}.json", f"model.llm_dtype={dtype}"]
    try:
        train.main(argv)
    except ValueError as error:
        return {"error": str(error), "utterances": seen["utterances"]}
    return {"error": "", "utterances": seen["utterances"]}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    device = distributed.connect()
    distributed.connect = lambda: device  # the processes are joined once, for all runs
    ended = {name: run(name) for name in sys.argv[1:]}
    Path(f"ended_{os.environ['RANK']}.json").write_text(json.dumps(ended))
    dist.barrier()  # a process that ends while the other one still speaks to it may abort
    dist.destroy_process_group()

"""Train: deepspeed --num_gpus N --module mome.bin.train --config conf/x.yaml --exp_dir exp/x ...

Stage 3 of a recipe; one process per GPU of each machine, or a few on a CPU. Writes to the
experiment folder: config.yaml (every setting), train.log, metrics.jsonl (a line per step, and every
20 steps the share of their time spent waiting for data), size.json, tensorboard/,
checkpoints/step_<n>/, best/ (lowest validation loss) and run.json.

`--resume` continues at the same batch with the same numbers. A cluster sends SIGTERM before it
takes a node away: when any process gets it, all of them save after the current step (on GPUs the
next one) and end with exit status 143.
"""

import argparse
import contextlib
import itertools
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mome import config, files
from mome.bin import Parser, run
from mome.config import Config, TrainConfig
from mome.data.dataset import FeatureDataset, Sampler
from mome.data.features import open_source
from mome.model import STREAMS, llm_dtype, load_llm
from mome.training import distributed, engine_settings, experiment, saved_states
from mome.training.distributed import total
from mome.training.loader import ReadAhead
from mome.training.schedule import Schedule
from mome.training.trainer import Trainer
from mome.training.warmup import prepare_projectors

log = logging.getLogger(__name__)

STOPPED = 128 + signal.SIGTERM  # exit status, as a shell reports it


def train(
    engine: Any, data: FeatureDataset, sampler: Sampler, cfg: TrainConfig, trainer: Trainer
) -> None:
    """Take the steps of the trainer's schedule, validating and saving on the way.

    The loss of a step is the mean over all text tokens of all its batches on all devices, whatever
    their sizes, and over the scales trained.
    """
    schedule, num_batches = trainer.schedule, trainer.batches_a_step
    left = itertools.islice(sampler.steps(trainer.step), schedule.num_steps - trainer.step)
    steps, to_read = itertools.tee(left)
    draws = itertools.chain.from_iterable(to_read)
    ahead = ReadAhead(data, draws, cfg.data_workers, engine.device)
    with contextlib.closing(iter(ahead)) as batches:  # it ends the workers
        for step, drawn in enumerate(steps, start=trainer.step):
            lr = schedule.learning_rate(step)
            distributed.set_learning_rate(engine.optimizer, lr)
            tokens = total(sum(data.num_targets(picks) for picks, _ in drawn), engine.device)
            for batch in itertools.islice(batches, cfg.accumulation):
                loss, stats, weight = engine(**batch)
                # DeepSpeed averages over devices and accumulation; this is a mean over tokens.
                engine.backward(loss * (weight * num_batches / tokens).float())
                engine.step()
                trainer.add(stats, weight, batch["utterances"])
            trainer.end_step(lr, ahead.seconds_waited())
            if schedule.validates_after(trainer.step):
                trainer.validate()
            stop = trainer.stop and trainer.step < schedule.num_steps
            if schedule.saves_after(trainer.step) or stop:
                trainer.save()
            if stop:
                log.info(f"stopped by SIGTERM after step {trainer.step}, saved; --resume continues")
                sys.exit(STOPPED)


def run_training(
    cfg: Config, args: argparse.Namespace, device: Any, dtype: torch.dtype, tag: str | None
) -> None:
    """Open the data, build the model, warm it up, start the engine and the sampler, then train.

    `tag` names the checkpoint to continue from.
    """
    torch.manual_seed(cfg.train.seed)
    deepspeed_path = Path(cfg.train.deepspeed)
    settings = engine_settings.build(cfg, deepspeed_path, bf16=dtype == torch.bfloat16)
    encoding = (STREAMS[cfg.model.task], cfg.encoders, device)
    source = open_source(args.train_set, args.train_mouths, *encoding, augmented=True)
    valid_source = open_source(args.valid_set, args.valid_mouths, *encoding, ready=source.encoders)
    with distributed.sharded_loading(settings):
        llm, tokenizer = load_llm(cfg.model, device, dtype)
    log.info(experiment.parameter_summary(llm))
    data, valid = experiment.build_datasets(source, valid_source, tokenizer, cfg, args.exp_dir)
    model, base = experiment.build_model(cfg, llm, tokenizer, data, device)
    floor = experiment.describe(model, data, valid, args.exp_dir)

    if not tag:
        prepare_projectors(model, data, cfg, args.exp_dir, base, device)
    engine = distributed.start_engine(model, cfg, settings)
    sampler = experiment.build_sampler(cfg, data, model)
    schedule = Schedule.of(cfg.train, sampler)
    log.info(f"{schedule.describe()}; {sampler.describe()}")
    trainer = Trainer(engine, cfg, args.exp_dir, valid, base, floor, schedule)
    if tag:
        trainer.resume(tag)
    engine.train()
    train(engine, data, sampler, cfg.train, trainer)
    trainer.close()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML file, such as conf/train_nano.yaml")
    parser.add_argument("--exp_dir", type=Path, required=True, help="exp/<tag>, written here")
    for name in ("train", "valid"):
        either = "feature directory; or data directory, to encode it while training"
        parser.add_argument(f"--{name}_set", type=Path, required=True, help=either)
        parser.add_argument(f"--{name}_mouths", type=Path, help="mouth crops of a data directory")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--local_rank", type=int, default=0, help="ignored: LOCAL_RANK has it")
    parser.add_argument("overrides", nargs="*", help="section.key=value, such as train.lr=5e-4")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Join the processes of the run, and train unless the folder holds this very run already."""
    args = parse(argv)
    cfg = config.load(args.config, args.overrides)
    device, rank = distributed.connect(), dist.get_rank()
    inputs = experiment.provenance(cfg, train=args.train_set, valid=args.valid_set)
    if rank:
        logging.getLogger().setLevel(logging.WARNING)
    with experiment.exclusive_lock(args.exp_dir) if rank == 0 else contextlib.nullcontext():
        begin = rank == 0 and experiment.open_experiment(args.exp_dir, inputs, args.resume)
        tag = None  # of the checkpoint to continue from
        if begin and args.resume:
            tag = saved_states.newest_whole(args.exp_dir, dist.get_world_size())
        dtype, reason = llm_dtype(cfg.model, device)
        # Another machine may still see the folder as it was, or measure other times.
        begin, tag, dtype = distributed.agreed((begin, tag, dtype))
        if begin and rank == 0:
            distributed.log_to_file(args.exp_dir / "train.log")
            comment = f"the LLM is in {dtype}: {reason}"
            log.info(comment)
            config.save(cfg, args.exp_dir / "config.yaml", comment)
        if begin:
            run_training(cfg, args, device, dtype, tag)
        if begin and rank == 0:
            files.write_stamp(args.exp_dir, inputs)
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    run(main)

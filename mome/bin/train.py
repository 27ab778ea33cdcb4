"""Train: deepspeed --num_gpus N --module mome.bin.train --config conf/x.yaml --exp_dir exp/x ...

Stage 3 of a recipe; one process per GPU of each machine, or a few on a CPU. Which one a process is
stands in RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, which the launcher sets. The
loop stands in the open in `train`. Writes to the experiment folder: config.yaml (every setting),
train.log, metrics.jsonl (a line per step), size.json, tensorboard/, checkpoints/step_<n>/, best/
(lowest validation loss) and run.json.
`--resume` continues at the same batch with the same numbers; SIGTERM, which a cluster sends before
it takes a node away, to any of the processes, ends all of them with exit status 143 once the step
they are at is saved.
"""

import argparse
import contextlib
import json
import logging
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

# Without a GPU DeepSpeed would look for one, and say so on standard output.
os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
import deepspeed
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from espnet2.train.reporter import Reporter
from torch.utils.tensorboard import SummaryWriter
from transformers.integrations import HfDeepSpeedConfig

from mome import checkpoint, config, files
from mome.bin import Parser, run
from mome.config import Config, TrainConfig
from mome.data.dataset import FeatureDataset, Pick, Sampler, plan, to_device
from mome.data.features import open_source
from mome.model import STREAMS, MoMEModel, init_reference_weights, load_llm
from mome.prompt import text_ids
from mome.training.experiment import (
    clock,
    engine_config,
    exclusive_lock,
    learning_rate,
    leave_out_unusable,
    mean_of,
    mean_over_devices,
    num_targets,
    open_experiment,
    parameter_summary,
    provenance,
    total,
)
from mome.training.text_floor import text_floor
from mome.training.warmup import warm_up

log = logging.getLogger(__name__)

# An operator for inference that DeepSpeed builds at start on CPU: not used here, needs a compiler
# and leaves shared memory behind.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

LOG_EVERY = 20  # steps
STOPPED = 128 + signal.SIGTERM  # exit status, as a shell has it
LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def train(engine, data: FeatureDataset, sampler: Sampler, cfg: TrainConfig, run: "Run") -> None:
    """Take optimiser steps until `cfg.num_steps`, validating and saving on the way.

    The loss of a step is the mean over all text tokens of all its batches on all devices, whatever
    their sizes, and over the scales trained.
    """
    share = sampler.world * cfg.accumulation
    steps = enumerate(sampler.steps(start=run.step), start=run.step)
    for step, batches in steps:
        if step >= cfg.num_steps:
            break
        lr = learning_rate(step, cfg)
        for group in engine.optimizer.param_groups:
            group["lr"] = lr
        batches = [(to_device(data.collate(picks), engine.device), s) for picks, s in batches]
        tokens = total(sum(num_targets(b) for b, _ in batches), engine.device)
        for batch, scales in batches:
            loss, stats, weight = engine(**batch, scales=scales)
            # DeepSpeed averages over devices and accumulation; this makes it a mean over tokens.
            engine.backward(loss * (weight * share / tokens))
            engine.step()
            run.note(stats, weight.item())
        run.step = step + 1
        run.log_step(lr, tokens, engine.get_global_grad_norm())
        if run.step % cfg.valid_every == 0 or run.step == cfg.num_steps:
            run.validate(engine)
        stop = total(run.asked_to_stop, engine.device) and run.step < cfg.num_steps
        if stop or run.step % cfg.save_every == 0 or run.step == cfg.num_steps:
            run.save(engine)
        if stop:
            log.info(f"stopped by SIGTERM after step {run.step}, which is saved: --resume goes on")
            sys.exit(STOPPED)


class Run:
    """The books of a training run: where it is, what it measures, what it keeps on disk."""

    def __init__(
        self,
        cfg: Config,
        exp_dir: Path,
        valid: FeatureDataset,
        base: dict,
        floor: float,
        device: torch.device,
    ):
        self.cfg, self.exp_dir, self.valid, self.base, self.floor = cfg, exp_dir, valid, base, floor
        self.device = device
        self.step, self.best, self.tokens = 0, math.inf, 0.0
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.start_time, self.start_step = time.monotonic(), 0
        self.reporter = Reporter()
        self.round = self.reporter.start_epoch("train", 1)
        self.board = SummaryWriter(str(exp_dir / "tensorboard")) if self.rank == 0 else None
        self.metrics = exp_dir / "metrics.jsonl"
        self.noted: list[tuple[dict, float]] = []
        self.llm_tokens = 0  # of the step so far on this device: prompt and text, over its scales
        self.asked_to_stop = False
        signal.signal(signal.SIGTERM, self._stop)  # what a cluster sends before it takes a node
        if self.rank == 0:
            (exp_dir / "text_floor.json").write_text(json.dumps({"nats_a_token": floor}) + "\n")

    def note(self, stats: dict[str, torch.Tensor], weight: float) -> None:
        """Keep what a batch init_reference_weights until its step is done."""
        values = {name: value.item() for name, value in stats.items()}
        self.llm_tokens += values.pop("llm_tokens")
        self.noted.append((values, weight))

    def log_step(self, lr: float, tokens: float, grad_norm: float | None) -> None:
        """Write a step to metrics.jsonl, and a progress line every `LOG_EVERY` steps."""
        stats = mean_over_devices(self.noted)
        llm_tokens = total(self.llm_tokens, self.device)
        self.noted, self.llm_tokens = [], 0
        self.tokens += tokens
        if self.rank:
            return
        stats["lr"] = lr
        if grad_norm is not None:  # DeepSpeed keeps none in float32 without ZeRO
            stats["grad_norm"] = float(grad_norm)
        self.round.register(stats, weight=tokens)
        self.round.next()
        spent, steps = time.monotonic() - self.start_time, self.step - self.start_step
        sizes = {"text_tokens": int(tokens), "llm_tokens": int(llm_tokens)}
        self._write({"step": self.step, **sizes, **stats})
        if self.step % LOG_EVERY == 0:
            left = spent / steps * (self.cfg.train.num_steps - self.step)
            loss = mean_of(self.round, "cross_entropy", LOG_EVERY)
            log.info(
                f"step {self.step}/{self.cfg.train.num_steps}: loss {loss:.3f}"
                f" (text alone {self.floor:.2f}), lr {lr:.1e},"
                f" {self.tokens / spent:.0f} text tokens/s, {clock(left)} left"
            )
            self.round.tensorboard_add_scalar(self.board, start=-LOG_EVERY)

    def validate(self, engine) -> None:
        """Loss on the validation set at each scale; the best model so far goes to best/."""
        data, cfg = self.valid, self.cfg.train
        engine.eval()
        lengths = [data.length(i) for i in range(len(data))]
        noted = []
        for k, indices in enumerate(plan(lengths, cfg.max_frames, rng=None)):
            # Under ZeRO 3 all devices take part in each batch, whoever counts it.
            batch = to_device(data.collate([Pick(i) for i in indices]), engine.device)
            mine = k % self.world == self.rank
            if mine or engine.zero_optimization_stage() == 3:
                with torch.no_grad():
                    _, stats, weight = engine(**batch)
            if mine:
                noted.append(({k: v.item() for k, v in stats.items()}, weight.item()))
        engine.train()
        stats = mean_over_devices(noted)
        if self.rank == 0:
            with self.reporter.observe("valid", self.round.epoch) as valid:
                valid.register(stats, weight=1)
                valid.next()
                valid.tensorboard_add_scalar(self.board)
            self._write({"step": self.step, **{f"valid_{k}": v for k, v in stats.items()}})
            scales = ", ".join(f"{k[5:]} {v:.3f}" for k, v in stats.items() if k[:5] == "loss_")
            log.info(f"step {self.step}: validation loss {stats['loss']:.3f} ({scales})")
            self.reporter.finish_epoch(self.round)
            self.round = self.reporter.start_epoch("train", self.round.epoch + 1)
        if stats["loss"] < self.best:
            self.best = stats["loss"]
            self._write_weights(engine, self.exp_dir / "best")

    def save(self, engine) -> None:
        """Write checkpoints/step_<n>/ (weights, optimiser, place in the data); prune older ones."""
        folder = self.exp_dir / "checkpoints"
        tag = f"step_{self.step}"
        self._write_weights(engine, folder / tag)
        dist.barrier()
        state = {"step": self.step, "best": self.best}
        engine.save_checkpoint(
            str(folder), tag=tag, client_state=state, exclude_frozen_parameters=True
        )
        if self.rank == 0:
            steps = sorted(folder.glob("step_*"), key=lambda p: int(p.name.split("_")[1]))
            for old in steps[: -self.cfg.train.keep_checkpoints]:
                shutil.rmtree(old)
        dist.barrier()  # a process that ended now would take the others with it

    def resume(self, engine) -> None:
        """Continue from the newest checkpoint."""
        folder = self.exp_dir / "checkpoints"
        path, state = engine.load_checkpoint(str(folder), load_module_strict=False)
        if path is None:
            raise ValueError(f"{folder} holds no readable checkpoint: delete it to start anew")
        self.step = self.start_step = state["step"]
        self.best = state["best"]
        if self.rank == 0 and self.metrics.exists():  # steps after the checkpoint come again
            lines = self.metrics.read_text().splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            self.metrics.write_text("".join(line + "\n" for line in kept))
        log.info(f"resumed after step {self.step} from {path}")

    def _write_weights(self, engine, model_dir: Path) -> None:
        weights = engine.module.trained()
        with gathered(list(weights.values())):
            if self.rank == 0:
                checkpoint.save(model_dir, weights, self.cfg, self.base)

    def _stop(self, *_) -> None:
        self.asked_to_stop = True

    def _write(self, line: dict) -> None:
        with self.metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")


def gathered(parameters: list[torch.nn.Parameter]) -> contextlib.AbstractContextManager:
    """Gather from all devices what ZeRO 3 shared out, for as long as the context lasts."""
    return deepspeed.zero.GatheredParameters([p for p in parameters if hasattr(p, "ds_id")])


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
    """Set up model, data and engine, then train."""
    args = parse(argv)
    cfg = config.load(args.config, args.overrides)
    missing = [name for name in LAUNCHED if name not in os.environ]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} not set; start training with the launcher:"
            " deepspeed --num_gpus 1 --module mome.bin.train ..."
        )
    get_accelerator().set_device(int(os.environ["LOCAL_RANK"]))  # before any of them is used
    deepspeed.init_distributed()
    rank = dist.get_rank()
    if rank:
        logging.getLogger().setLevel(logging.WARNING)
    about = provenance(cfg, train=args.train_set, valid=args.valid_set)
    with exclusive_lock(args.exp_dir) if rank == 0 else contextlib.nullcontext():
        todo = [False, False]
        if rank == 0:
            begin = open_experiment(args.exp_dir, about, args.resume)
            todo = [begin, args.resume and (args.exp_dir / "checkpoints" / "latest").exists()]
        dist.broadcast_object_list(todo)  # another machine may see the folder as it was
        begin, resuming = todo
        if begin:
            run_training(cfg, args, resuming)
            if rank == 0:
                files.write_stamp(args.exp_dir, about)
        dist.barrier()
    dist.destroy_process_group()


def run_training(cfg: Config, args: argparse.Namespace, resuming: bool) -> None:
    """One training, from files to files."""
    rank, world = dist.get_rank(), dist.get_world_size()
    device = torch.device(get_accelerator().current_device_name())
    if rank == 0:
        handler = logging.FileHandler(args.exp_dir / "train.log")
        handler.setFormatter(logging.getLogger().handlers[0].formatter)
        logging.getLogger().addHandler(handler)
        config.save(cfg, args.exp_dir / "config.yaml")

    torch.manual_seed(cfg.train.seed)
    engine_settings = engine_config(cfg, cfg.train.deepspeed)
    streams = STREAMS[cfg.model.task]
    how = streams, cfg.encoders, device
    source = open_source(args.train_set, args.train_mouths, *how, augmented=True)
    valid_source = open_source(args.valid_set, args.valid_mouths, *how, ready=source.encoders)
    # Under ZeRO 3 transformers gives each device its part of every weight while it loads.
    told_transformers = HfDeepSpeedConfig(engine_settings)  # noqa: F841  # it keeps a weak link
    llm, tokenizer = load_llm(cfg.model, device)
    log.info(parameter_summary(llm))

    def encode(text: str) -> list[int]:
        return text_ids(tokenizer, text)

    data = FeatureDataset(source, encode)
    valid = FeatureDataset(valid_source, encode)
    valid.check_encoders(source.info)
    for part in (data, valid):
        part.check_rates(cfg.model.audio_rates)
    for part, name, limit in ((data, "skipped.txt", 0.01), (valid, "skipped_valid.txt", 0.0)):
        leave_out_unusable(part, cfg, args.exp_dir / name, limit)
    with gathered(init_reference_weights(llm)):
        model = MoMEModel(cfg.model, llm, tokenizer, data.source.frame_dims).to(device)
        if cfg.encoders.video_lora_rank:
            model.add_video_encoder(source.encoders["video"])
        if cfg.train.ctc_warmup.num_steps or cfg.train.ctc_warmup.weight:
            ids = {i for u in data.utterances for i in data.ids[u]}
            model.add_alignment(ids, cfg.train.ctc_warmup.weight)
    if cfg.train.gradient_checkpointing:
        model.checkpoint_gradients()
    base = {
        "llm": cfg.model.llm,
        "llm_fingerprint": checkpoint.fingerprint(llm, gathered),
        "features": data.source.info,
        "frame_dims": data.source.frame_dims,
    }
    floor = text_floor(
        [data.ids[u] for u in data.utterances],
        [valid.ids[u] for u in valid.utterances],
        tokenizer.eos_token_id,
    )
    count = sum(p.numel() for p in model.trained().values())
    size = model.count_parameters()
    if rank == 0:
        (args.exp_dir / "size.json").write_text(json.dumps(size) + "\n")
    log.info(
        f"{len(data)} training and {len(valid)} validation utterances; {count / 1e6:.2f}M weights"
        f" are trained, {size['resident'] / 1e6:.2f}M of them in adapters; scales"
        f" {', '.join(map(str, model.scales))}; {world} process(es) of {torch.get_num_threads()}"
        " thread(s)"
    )
    log.info(f"loss floor of the text alone: {floor:.2f} nats a token (above it, nothing is heard)")

    if cfg.train.ctc_warmup.num_steps and not resuming:
        warm = args.exp_dir / "warmup"
        if rank == 0 and not warm.exists():
            warm_up(model, data, cfg.train, device)
            checkpoint.save(warm, model.trained(), cfg, base)
        dist.barrier()
        checkpoint.copy_parts(model, warm, [""])
    if cfg.train.ctc_warmup.start_from:
        parts = ["projectors.", "prompt.", "alignment."]
        checkpoint.copy_parts(model, cfg.train.ctc_warmup.start_from, parts)

    trained = list(model.trained().values())
    for parameter in trained:  # under ZeRO 3 DeepSpeed would leave them in float32
        parameter.data = parameter.data.to(getattr(torch, cfg.model.llm_dtype))
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(
            trained, cfg.train.lr, tuple(cfg.train.betas), weight_decay=cfg.train.weight_decay
        ),
        model_parameters=trained,
        config=engine_settings,
    )
    sampler = Sampler(
        lengths=[data.length(i) for i in range(len(data))],
        max_frames=cfg.train.max_frames,
        seed=cfg.train.seed,
        rank=rank,
        world=world,
        accumulation=cfg.train.accumulation,
        num_noisy=data.source.num_noisy,
        noisy_share=cfg.train.noisy_share,
        audio_dropout=cfg.train.audio_dropout,
        scales=tuple(map(str, model.scales)),
        scales_per_step=cfg.train.scales_per_step,
    )
    log.info(sampler.describe())
    books = Run(cfg, args.exp_dir, valid, base, floor, engine.device)
    if resuming:
        books.resume(engine)
    engine.train()
    train(engine, data, sampler, cfg.train, books)
    if books.board:
        books.board.close()


if __name__ == "__main__":
    run(main)

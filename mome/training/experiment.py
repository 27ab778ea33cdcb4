"""An experiment: its folder, and the data, the model and the settings that it trains with."""

import contextlib
import fcntl
import glob
import json
import logging
import re
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from mome import checkpoint, files
from mome.config import Config, as_dict, new_name, new_value
from mome.data.dataset import FRAME_S, FeatureDataset, Sampler
from mome.model import MoMEModel, init_reference_weights
from mome.prompt import text_ids
from mome.training.distributed import gathered
from mome.training.text_floor import text_floor

log = logging.getLogger(__name__)


# ---- the folder ---------------------------------------------------------------------------------


@contextlib.contextmanager
def exclusive_lock(exp_dir: Path) -> Iterator[None]:
    """Lock the folder for this process; ValueError when another process trains into it."""
    path = exp_dir.with_name(f".{exp_dir.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:  # the system frees it when the process ends, however that is
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{exp_dir} is being trained by another process: wait for it to end, or give this"
                " training run another --tag"
            ) from None
        except OSError as error:  # some file systems of clusters have no locks
            log.warning(f"{path} cannot be locked ({error}): do not train into {exp_dir} twice")
        yield


def open_experiment(exp_dir: Path, inputs: dict, resume: bool) -> bool:
    """Make the folder ready; False when the run with these `inputs` is finished.

    A run with other settings or data is kept as exp/<tag>.<what differs>.<time>. It becomes
    exp/<tag> again when its settings return. A run with more steps or epochs continues the earlier
    one; if that one was finished, a copy of it is kept.
    """
    differ = differences(exp_dir, inputs)
    if resume and differ != {} and restore(exp_dir, inputs, differ):
        differ = {}
    finished = (exp_dir / files.STAMP).exists() and (exp_dir / "best").exists()
    if resume and differ == {} and finished:
        log.info(f"{exp_dir} is trained with these settings already: nothing to do")
        return False
    if differ is not None and not (resume and continues(differ, inputs)):
        path = kept_name(exp_dir, differ)
        exp_dir.rename(path)
        reason = f"it differs in {', '.join(differ)}" if differ else "no --resume was given"
        log.info(f"the earlier run in {exp_dir} is kept as {path}: {reason}")
    elif differ and finished:
        path = kept_name(exp_dir, differ)
        keep_copy(exp_dir, path)
        log.info(f"a copy of the run in {exp_dir}, which is now continued, is kept as {path}")
    files.clear_stamp(exp_dir)
    files.write_json(exp_dir / "run.json", inputs)
    return True


def keep_copy(exp_dir: Path, path: Path) -> None:
    """Copy an experiment, whole or not at all. Raises OSError, such as for a full disk."""
    tmp_dir = path.with_suffix(".tmp")
    try:
        shutil.copytree(exp_dir, tmp_dir, dirs_exist_ok=True).rename(path)
    except shutil.Error as error:  # a list of (source, target, reason)
        shutil.rmtree(tmp_dir, ignore_errors=True)
        name, _, reason = error.args[0][0]
        raise OSError(
            f"{name} cannot be copied to {path}, where the finished run is to be kept ({reason}):"
            " free some disk, or give --tag a new name"
        ) from None


def differences(exp_dir: Path, inputs: dict) -> dict | None:
    """The inputs in which the run in a folder differs, with its values; None if it holds no run."""
    path = exp_dir / "run.json"
    if not path.exists():
        return None
    try:
        saved = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ValueError(
            f"{path} is damaged: move {exp_dir} away, or give --tag a new name"
        ) from None
    saved = {new_name(key): value for key, value in saved.items()}
    saved = {key: new_value(key, value) for key, value in saved.items()}
    # Settings that an older version of the program did not have count as their defaults.
    before = flatten(as_dict(Config())) | saved
    return {k: before.get(k) for k in sorted(inputs) if inputs[k] != before.get(k)}


def continues(differ: dict, inputs: dict) -> bool:
    """Whether a run that differs in these values is the same one, or the same but shorter."""
    if not differ:
        return True
    lengths = {"train.num_steps", "train.num_epochs"}
    return len(differ) == 1 and any(differ[key] < inputs[key] for key in differ.keys() & lengths)


def restore(exp_dir: Path, inputs: dict, differ: dict | None) -> bool:
    """Bring back the newest kept run with these inputs; the run in `exp_dir` is kept instead."""
    kept = [path for path in kept_runs(exp_dir) if differences(path, inputs) == {}]
    if not kept:
        return False
    if exp_dir.exists():
        exp_dir.rename(kept_name(exp_dir, differ or {}))
    kept[-1].rename(exp_dir)
    log.info(f"{kept[-1]} was trained with these settings before: it is {exp_dir} again")
    return True


def kept_runs(exp_dir: Path) -> list[Path]:
    """The folders that `kept_name` named, the newest last."""
    found = exp_dir.parent.glob(f"{glob.escape(exp_dir.name)}.*")
    names = [p for p in found if re.search(r"\.\d{8}-\d{6}$", p.name)]
    return sorted(names, key=lambda path: path.name[-15:])


def kept_name(exp_dir: Path, differ: dict) -> Path:
    """Where a run is kept: its tag, its values of what differs, and when it was started."""
    parts = []
    for key, value in differ.items():
        text = re.sub(r"[^\w.+-]+", "-", str(value)).strip("-")
        parts.append(f"{key.split('.')[-1]}={text}" if "." in key else key)  # a digest says nothing
    what = ",".join(parts)[:80]
    run = exp_dir / "run.json"
    started = time.localtime((run if run.exists() else exp_dir).stat().st_mtime)
    name = f"{exp_dir.name}.{what}." if what else f"{exp_dir.name}."
    return exp_dir.with_name(name + time.strftime("%Y%m%d-%H%M%S", started))


def provenance(cfg: Config, **dirs: Path) -> dict:
    """What a training run is made from: every setting, and a digest of each set.

    A set is a feature directory, or a data directory whose features are computed during training.
    """
    digests = {}
    for name, path in dirs.items():
        table = "feats.json" if (path / "feats.json").exists() else "wav.scp"
        digests[f"{name}_set"] = files.digest(path / table) + files.digest(path / "text")
    settings = flatten(json.loads(json.dumps(as_dict(cfg))))
    # Another machine may continue the run in another precision, and with more processes that read.
    del settings["model.llm_dtype"], settings["train.data_workers"]
    return settings | digests


def flatten(values: dict, prefix: str = "") -> dict:
    """{"train": {"lr": 1}} -> {"train.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


# ---- what is trained ----------------------------------------------------------------------------


def build_datasets(
    source: Any, valid_source: Any, tokenizer: Any, cfg: Config, exp_dir: Path
) -> tuple[FeatureDataset, FeatureDataset]:
    """Training and validation utterances, less the unusable ones, which are listed in `exp_dir`.

    Raises ValueError when the features do not go with each other or with the rates.
    """
    encode = partial(text_ids, tokenizer)
    train, valid = FeatureDataset(source, encode), FeatureDataset(valid_source, encode)
    valid.check_encoders(source.info)
    for data, name, limit in ((train, "skipped.txt", 0.01), (valid, "skipped_valid.txt", 0.0)):
        data.check_rates(cfg.model.audio_rates)
        leave_out_unusable(data, cfg, exp_dir / name, limit)
    return train, valid


def leave_out_unusable(data: FeatureDataset, cfg: Config, list_path: Path, limit: float) -> None:
    """Leave out utterances that are too long for a batch or too short for a rate, and list them.

    ValueError when their share is above `limit`.
    """
    reasons = data.unusable(
        cfg.train.max_frames, max(cfg.model.audio_rates), max(cfg.model.video_rates)
    )
    if not reasons:
        return
    if dist.get_rank() == 0:
        files.write_text(list_path, "".join(f"{u}\t{reasons[u]}\n" for u in sorted(reasons)))
    first = min(reasons)
    message = (
        f"{data.dir}: {len(reasons)} of {len(data)} utterances cannot be used, such as {first}:"
        f" {reasons[first]}; {list_path} lists them"
    )
    if len(reasons) > limit * len(data):
        raise ValueError(message)
    log.info(message)
    data.leave_out(set(reasons))


def build_model(
    cfg: Config, llm: nn.Module, tokenizer: Any, data: FeatureDataset, device: torch.device
) -> tuple[MoMEModel, dict]:
    """The model to train on `data`, and the base models that its weights belong to."""
    source, warmup = data.source, cfg.train.ctc_warmup
    with gathered(init_reference_weights(llm)):
        model = MoMEModel(cfg.model, llm, tokenizer, source.frame_dims).to(device)
        if cfg.encoders.video_lora_rank:
            model.add_video_encoder(source.encoders["video"])
        if warmup.num_steps or warmup.weight:
            token_ids = {i for utterance in data.utterances for i in data.ids[utterance]}
            model.add_alignment(token_ids, warmup.weight)
    if cfg.train.gradient_checkpointing:
        model.checkpoint_gradients()
    frozen = checkpoint.describe_base(llm, tokenizer, source.info, gathered)
    longest_s = FRAME_S * max(data.length(i) for i in range(len(data)))
    base = {"llm": cfg.model.llm, "frame_dims": source.frame_dims, "longest_s": longest_s} | frozen
    return model, base


def parameter_summary(llm: nn.Module) -> str:
    """How many weights the frozen LLM has, and how many of them this process holds."""
    held, count = 0, 0
    for p in llm.parameters():
        # A 4-bit parameter packs two weights into a byte; one that ZeRO 3 sharded is empty.
        numel = p.quant_state.shape.numel() if hasattr(p, "quant_state") else p.numel()
        held += p.ds_tensor.numel() if hasattr(p, "ds_tensor") else numel
        count += getattr(p, "ds_numel", numel)
    dtype = next(llm.parameters()).dtype
    return f"frozen LLM: {count / 1e6:.3f}M weights, {held / 1e6:.3f}M held by a process, {dtype}"


def describe(
    model: MoMEModel, train: FeatureDataset, valid: FeatureDataset, exp_dir: Path
) -> float:
    """Log the sizes of model and data, and write size.json and text_floor.json.

    Returns the loss that a model of the text alone reaches, in nats a token.
    """
    texts, valid_texts = ([data.ids[u] for u in data.utterances] for data in (train, valid))
    floor = text_floor(texts, valid_texts, model.eos)
    num_trained = sum(p.numel() for p in model.trained().values())
    size = model.count_parameters()
    if dist.get_rank() == 0:
        files.write_text(exp_dir / "size.json", json.dumps(size) + "\n")
        files.write_json(exp_dir / "text_floor.json", {"nats_a_token": floor}, indent=None)
    log.info(
        f"{len(train)} training and {len(valid)} validation utterances;"
        f" {num_trained / 1e6:.2f}M weights are trained, {size['resident'] / 1e6:.2f}M of them in"
        f" adapters; scales {', '.join(map(str, model.scales))};"
        f" {dist.get_world_size()} process(es) of {torch.get_num_threads()} thread(s)"
    )
    log.info(
        f"loss of a model of the text alone: {floor:.2f} nats a token (above it, audio and video"
        " are not used yet)"
    )
    return floor


def build_sampler(cfg: Config, data: FeatureDataset, model: MoMEModel) -> Sampler:
    """The batches of this process."""
    return Sampler(
        lengths=[data.length(i) for i in range(len(data))],
        max_frames=cfg.train.max_frames,
        seed=cfg.train.seed,
        rank=dist.get_rank(),
        world=dist.get_world_size(),
        accumulation=cfg.train.accumulation,
        num_noisy=data.source.num_noisy,
        noisy_share=cfg.train.noisy_share,
        audio_dropout=cfg.train.audio_dropout,
        video_dropout=cfg.train.video_dropout,
        scales=tuple(map(str, model.scales)),
        scales_per_step=cfg.train.scales_per_step,
        scale_odds=tuple(cfg.train.scale_odds.get(str(s), 1.0) for s in model.scales),
    )

"""An experiment folder and its books: what it was made from, measured and left out."""

import contextlib
import fcntl
import glob
import json
import logging
import math
import re
import shutil
import time
from pathlib import Path

import torch
import torch.distributed as dist

from mome import files
from mome.config import Config, TrainConfig, as_dict, new_name
from mome.data.dataset import FeatureDataset

log = logging.getLogger(__name__)


@contextlib.contextmanager
def exclusive_lock(exp_dir: Path):
    """Hold the folder for this process; ValueError when another one trains into it."""
    path = exp_dir.with_name(f".{exp_dir.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:  # the system frees it when the process ends, however that is
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{exp_dir} is being trained by another process: wait for it, or give this"
                " training another --tag"
            ) from None
        except OSError as error:  # some file systems of clusters have no locks
            log.warning(f"{path} cannot be locked ({error}): start no second training of this name")
        yield


def open_experiment(exp_dir: Path, inputs: dict, resume: bool) -> bool:
    """Make the folder ready; False when the run with these `inputs` is finished.

    A run with other settings or data is kept as exp/<tag>.<what differs>.<time>, and is exp/<tag>
    again when its settings are. A run with more steps continues the earlier one; a copy of that one
    is kept when it was finished.
    """
    differ = differences(exp_dir, inputs)
    kept = [path for path in kept_runs(exp_dir) if differences(path, inputs) == {}]
    if resume and differ != {} and kept:
        if exp_dir.exists():
            exp_dir.rename(kept_name(exp_dir, differ or {}))
        kept[-1].rename(exp_dir)
        log.info(f"{kept[-1]} was trained with these settings before: it is {exp_dir} again")
        differ = {}
    if resume and files.up_to_date(exp_dir, inputs) and (exp_dir / "best").exists():
        log.info(f"{exp_dir} is trained with these settings already: nothing to do")
        return False
    steps = (differ or {}).get("train.num_steps", math.inf)
    longer = resume and differ == {"train.num_steps": steps} and steps < inputs["train.num_steps"]
    if differ is not None and (differ or not resume) and not longer:
        path, reason = kept_name(exp_dir, differ), ", ".join(differ)
        exp_dir.rename(path)
        reason = f"it differs in {reason}" if reason else "no --resume was given"
        log.info(f"the earlier run in {exp_dir} is kept as {path}: {reason}")
    elif differ and (exp_dir / files.STAMP).exists():
        path = kept_name(exp_dir, differ)
        shutil.copytree(exp_dir, path.with_suffix(".tmp"), dirs_exist_ok=True).rename(path)
        log.info(f"a copy of the run in {exp_dir}, which is now continued, is kept as {path}")
    files.clear_stamp(exp_dir)
    files.write_json(exp_dir / "run.json", inputs)
    return True


def differences(exp_dir: Path, inputs: dict) -> dict | None:
    """The inputs that the run in a folder has otherwise, with its values; None without a run."""
    path = exp_dir / "run.json"
    if not path.exists():
        return None
    saved = {new_name(key): value for key, value in json.loads(path.read_text()).items()}
    # Settings that an older version of the program did not have count as their defaults.
    before = flatten(as_dict(Config())) | saved
    return {k: before.get(k) for k in sorted(inputs) if inputs[k] != before.get(k)}


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
    """What a training is made from: every setting, and a digest of each set.

    A set is a feature directory, or a data directory whose features are made while training.
    """
    digests = {}
    for name, path in dirs.items():
        table = "feats.json" if (path / "feats.json").exists() else "wav.scp"
        digests[f"{name}_set"] = files.digest(path / table) + files.digest(path / "text")
    return flatten(json.loads(json.dumps(as_dict(cfg)))) | digests


def flatten(values: dict, prefix: str = "") -> dict:
    """{"train": {"lr": 1}} -> {"train.lr": 1}."""
    flat = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def leave_out_unusable(data: FeatureDataset, cfg: Config, list_path: Path, limit: float) -> None:
    """Leave out what no batch can hold or a rate is too coarse for; list it; stop above a share."""
    reasons = data.unusable(
        cfg.train.max_frames, max(cfg.model.audio_rates), max(cfg.model.video_rates)
    )
    if not reasons:
        return
    if dist.get_rank() == 0:
        list_path.write_text("".join(f"{u}\t{why}\n" for u, why in sorted(reasons.items())))
    first = next(iter(sorted(reasons.items())))
    text = (
        f"{data.dir}: {len(reasons)} of {len(data)} utterances do not fit, listed in {list_path},"
        f" such as {first[0]}: {first[1]}"
    )
    if len(reasons) > limit * len(data):
        raise ValueError(text)
    log.info(text)
    data.leave_out(set(reasons))


def learning_rate(step: int, cfg: TrainConfig) -> float:
    """Linear warm-up, then a cosine to 0 at the last step (MoME §4)."""
    if step < cfg.lr_warmup_steps:
        return cfg.lr * (step + 1) / cfg.lr_warmup_steps
    done = (step - cfg.lr_warmup_steps) / max(1, cfg.num_steps - cfg.lr_warmup_steps)
    return cfg.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def num_targets(batch: dict) -> int:
    """Text tokens of a batch, an EOS for each utterance included."""
    return int(batch["text_lengths"].sum()) + len(batch["text_lengths"])


def total(number: float, device: torch.device) -> float:
    """The sum of a number over all devices."""
    value = torch.tensor(float(number), device=device, dtype=torch.float64)
    dist.all_reduce(value)
    return value.item()


def mean_over_devices(noted: list[tuple[dict, float]]) -> dict[str, float]:
    """Weighted means of what all devices noted; a value may be missing from some batches."""
    everyone = [noted]
    if dist.get_world_size() > 1:
        everyone = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, noted)
    sums: dict[str, list[float]] = {}
    for stats, weight in (pair for device in everyone for pair in device):
        for name, value in stats.items():
            entry = sums.setdefault(name, [0.0, 0.0])
            entry[0] += value * weight
            entry[1] += weight
    return {name: value / weight for name, (value, weight) in sums.items()}


def mean_of(report, name: str, last: int) -> float:
    """Weighted mean of the last values that a Reporter holds."""
    values = report.stats[name][-last:]
    weight = sum(v.weight for v in values)
    return sum(v.value * v.weight for v in values) / weight if weight else math.nan


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def parameter_summary(llm: torch.nn.Module) -> str:
    """How many weights the frozen LLM has, and how many of them this process holds."""
    held, count = 0, 0
    for p in llm.parameters():
        numel = p.quant_state.shape.numel() if hasattr(p, "quant_state") else p.numel()  # 4 bits
        held += p.ds_tensor.numel() if hasattr(p, "ds_tensor") else numel
        count += getattr(p, "ds_numel", numel)
    kind = next(llm.parameters()).dtype
    return f"frozen LLM: {count / 1e6:.3f}M weights, {held / 1e6:.3f}M held by a process, {kind}"


def engine_config(cfg: Config, base_path: str) -> dict:
    """DeepSpeed's configuration: ZeRO and communication from its file, the rest from ours."""
    path = Path(base_path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: train.deepspeed names a DeepSpeed JSON file")
    engine = json.loads(path.read_text())
    zero_3 = engine.get("zero_optimization", {}).get("stage") == 3
    if cfg.model.quantise != "none" and zero_3:
        raise ValueError(
            f"{path}: ZeRO 3 cannot share out an LLM in few bits (model.quantise="
            f"{cfg.model.quantise}): use stage 0, 1 or 2, or model.quantise=none"
        )
    if cfg.encoders.video_lora_rank and zero_3:
        raise ValueError(
            f"{path}: ZeRO 3 cannot train the video encoder (encoders.video_lora_rank), which runs"
            " on a few clips at once, thus not as often on every device: use stage 0, 1 or 2"
        )
    ours = {
        "train_micro_batch_size_per_gpu": 1,  # nominal: batches are cut by frames
        "gradient_accumulation_steps": cfg.train.accumulation,
        "gradient_clipping": cfg.train.max_grad_norm,
        "bf16": {"enabled": cfg.model.llm_dtype == "bfloat16"},
        "steps_per_print": 10**9,
        "zero_allow_untested_optimizer": True,
    }
    twice = sorted((engine.keys() & ours.keys()) | (engine.keys() & {"optimizer", "scheduler"}))
    if twice:
        raise ValueError(f"{path} sets {', '.join(twice)}: the train config sets these")
    return engine | ours

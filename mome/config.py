"""The settings of a run: each field is a YAML key and a `section.key=value` override.

OmegaConf merges the files; one with `base: train_x.yaml` starts from that file of its folder.
Errors name the nearest key. `exp/` gets the complete settings, and decoding reads them there.
"""

import dataclasses
import difflib
import io
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mome import files

TASKS = ("asr", "vsr", "avsr", "all")
ADAPTERS = ("mome", "lora", "plain")
POSITIONS = ("mhsa", "ffn", "layer")
ROUTERS = ("shared", "per_scale", "static")
LORA_FORMS = ("ms", "ss", "mss")
NOISES = ("babble", "speech_shaped", "pink", "white")  # kinds that mome.data.noise makes
RENAMED = {  # settings by their old names, which are still read
    "train.clip": "train.max_grad_norm",
    "train.warmup": "train.ctc_warmup",
    "decode.tokens_more": "decode.extra_tokens",
    "encoders.mask_s": "encoders.video_mask_s",
}
OLD_VALUES = {"model.projector_norm": {"True": "both", "False": "none"}}  # likewise
KINDS = {  # types of fields in words
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list[int]: "a list of whole numbers, such as [4, 16]",
    list[float]: "a list of numbers, such as [0.9, 0.98]",
    dict[str, float]: "a number for each name, such as {a4_v2: 1.5}",
}
ABOVE_0 = 1e-300
LIMITS = {  # the least and the most of a number, or of each number in a list or dict
    name: limits
    for limits, names in {
        (0, 1): "encoders.mirror_share train.noisy_share train.audio_dropout train.video_dropout",
        (ABOVE_0, 1): "train.lr train.ctc_warmup.lr",
        (0, 0.999999): "train.betas",
        (0, 60): "encoders.audio_mask_s encoders.video_mask_s train.router_lr_factor",
        (-100, 100): "encoders.snrs decode.length_penalty",
        (1, 1500): "encoders.store_rate model.audio_rates model.video_rates decode.num_beams",
        (ABOVE_0, 1e6): "encoders.video_lora_alpha model.lora_alpha train.scale_odds"
        " decode.tokens_per_second",
        (0, 1e4): "encoders.num_noisy_copies encoders.video_lora_rank model.num_shared"
        " model.router_gain model.balance_weight train.weight_decay train.ctc_warmup.weight",
        (1, 1e5): "model.num_routed model.num_active model.lora_rank model.projector_dim"
        " model.expert_dim model.plain_dim train.ctc_warmup.batch_size train.accumulation"
        " train.keep_checkpoints decode.batch_size train.max_frames",
        (0, 1e9): "train.num_steps train.num_epochs train.lr_warmup_steps train.valid_every"
        " train.save_every train.ctc_warmup.num_steps train.seed train.max_grad_norm"
        " train.scales_per_step model.scale_weights model.task_weights decode.extra_tokens",
    }.items()
    for name in names.split()
}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodersConfig:
    """The frozen encoders that stage 2 runs, and what is done to their input."""

    audio: str = "openai/whisper-small"  # hub id or folder
    video: str = "downloads/avhubert-large"  # a folder made by tools/convert_avhubert.py
    pad_to_30s: bool = False  # pad clips for Whisper to 30 s with silence, as the paper does
    num_noisy_copies: int = 1  # of each training utterance, at an SNR drawn from `snrs`
    store_rate: int = 1  # audio frames averaged into one on disk; must divide every audio rate
    features: str = "offline"  # or "online": encode in the training loop, newly augmented each time
    random_crop: bool = True  # online: crop the mouth at a random place instead of the centre
    mirror_share: float = 0.5  # online: share of the clips whose video is mirrored
    audio_mask_s: float = 0.4  # online: longest mask of audio, in seconds; one for each second
    video_mask_s: float = 0.4  # online: the same for video, drawn independently; 0: no masks
    video_lora_rank: int = 0  # online: train LoRA on the video encoder; 0: it stays frozen
    video_lora_alpha: float = 128.0  # its output is scaled by alpha / rank; peers: 128 / 64
    noise: str = "babble"  # in the noisy copies and in online features
    noise_dir: str = ""  # noise files of your own, instead of made noise
    snrs: list[float] = field(default_factory=lambda: [-5.0, 0.0, 5.0, 10.0, 15.0, 20.0])

    def __post_init__(self):
        _check_limits(self, "encoders.")
        _one_of("encoders.features", self.features, ("offline", "online"))
        _one_of("encoders.noise", self.noise, NOISES)
        if (rank := self.video_lora_rank) and self.features != "online":
            raise ValueError(f"encoders.video_lora_rank {rank} needs encoders.features=online")


@dataclass(frozen=True)
class ModelConfig:
    """The network that mome.model builds."""

    llm: str = "meta-llama/Llama-3.2-1B"  # Hugging Face id or folder
    llm_dtype: str = "auto"  # the faster of bfloat16 and float32 on the machine; or one of them
    quantise: str = "none"  # or "8bit", "4bit": the frozen LLM by bitsandbytes (extra "quantise")
    attention: str = "sdpa"  # of the LLM, as transformers calls it; "eager" is faster on a CPU
    task: str = "avsr"  # asr, vsr, avsr, or all: one model for the three

    # Frames per token; audio frames last 20 ms (Whisper), video frames 40 ms (25 fps).
    audio_rates: list[int] = field(default_factory=lambda: [4, 16])
    video_rates: list[int] = field(default_factory=lambda: [2, 5])
    compression: str = "average"  # or "stack"
    drop_tail: bool = False  # drop a last, partial group of frames, as other systems do

    projector: str = "per_stream"  # or "per_rate": one for each rate of a stream
    projector_dim: int = 2048  # hidden width
    projector_norm: str = "none"  # or LayerNorm on "both" sides, or only "after" the projector

    adapter: str = "mome"  # or "lora" (on queries and values), "plain" (one expert, no router)
    adapter_init: str = "uniform"  # or "unit"; for lora also "peers": see mome/adapters.py
    position: str = "layer"  # the block that mome and plain are attached to: mhsa | ffn | layer
    num_routed: int = 23
    num_active: int = 4  # routed experts per token
    num_shared: int = 1
    expert_dim: int = 12
    router: str = "shared"  # or "per_scale", "static": see mome/experts.py
    router_gain: float = 1.0  # factor on the router's first weights; more spreads the first gates
    renormalise: bool = False  # scale the gates of the chosen experts to sum to 1
    balance_weight: float = 0.01
    balance_over: str = "batch"  # the tokens among which the load is balanced; or "utterance"
    lora_rank: int = 64
    lora_alpha: float = 8.0  # the output is scaled by alpha / rank
    lora_form: str = "ms"  # one LoRA for all scales, "ss": one for each scale, "mss": both
    plain_dim: int = 48
    scale_weights: dict[str, float] = field(default_factory=dict)  # of the loss; 1 if not named
    task_weights: dict[str, float] = field(default_factory=dict)  # likewise, for task all

    def __post_init__(self):
        _check_limits(self, "model.")
        norm = new_value("model.projector_norm", self.projector_norm)
        object.__setattr__(self, "projector_norm", norm)
        _one_of("model.task", self.task, TASKS)
        _one_of("model.adapter", self.adapter, ADAPTERS)
        inits = ("uniform", "unit", "peers") if self.adapter == "lora" else ("uniform", "unit")
        _one_of(f"model.adapter_init with adapter {self.adapter}", self.adapter_init, inits)
        _one_of("model.position", self.position, POSITIONS)
        _one_of("model.router", self.router, ROUTERS)
        _one_of("model.lora_form", self.lora_form, LORA_FORMS)
        _one_of("model.projector", self.projector, ("per_stream", "per_rate"))
        _one_of("model.projector_norm", self.projector_norm, ("none", "both", "after"))
        _one_of("model.quantise", self.quantise, ("none", "8bit", "4bit"))
        _one_of("model.compression", self.compression, ("average", "stack"))
        _one_of("model.balance_over", self.balance_over, ("batch", "utterance"))
        _one_of("model.llm_dtype", self.llm_dtype, ("auto", "bfloat16", "float32"))
        if self.num_active > self.num_routed:
            most, got = self.num_routed, self.num_active
            raise ValueError(f"model.num_active must be in 1..{most} (num_routed), got {got}")
        for name in ("audio_rates", "video_rates"):
            rates = getattr(self, name)
            if len(set(rates)) != len(rates):
                raise ValueError(f"model.{name} must be different whole numbers, got {rates}")
        for name in self.task_weights:
            _one_of("a key of model.task_weights", name, TASKS[:3])


@dataclass(frozen=True)
class WarmupConfig:
    """Alignment of the projectors with the LLM's embedding table by CTC, before the LLM is trained.

    It is ours, not the paper's, whose configurations do without (0 steps). See mome/alignment.py.
    """

    num_steps: int = 0
    start_from: str = ""  # instead: use the projectors of another run, such as exp/x/warmup
    batch_size: int = 32  # utterances
    lr: float = 2e-3
    weight: float = 0.0  # of the CTC loss that is added to the loss of the main training

    def __post_init__(self):
        if self.num_steps and self.start_from:
            raise ValueError(
                "train.ctc_warmup.num_steps and train.ctc_warmup.start_from exclude each other: set"
                " the first to 0"
            )


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation, as bin/train.py does it."""

    num_steps: int = 30_000  # optimiser steps; 0: as many as `num_epochs` takes
    num_epochs: int = 0  # passes over the training set, on any number of devices; 0: `num_steps`
    lr: float = 1e-3  # peak, reached after `lr_warmup_steps`; then a cosine to 0
    lr_warmup_steps: int = 500
    router_lr_factor: float = 1.0  # of the routers' learning rate: this times that of the others
    weight_decay: float = 0.1
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    max_grad_norm: float = 10.0  # larger gradients are clipped to this norm; 0: no clipping
    max_frames: int = 1500  # frames of 40 ms in a batch of one device, padding included
    accumulation: int = 1  # batches per optimiser step and device
    scales_per_step: int = 0  # scales of a batch, drawn at random for each step; 0: all
    scale_odds: dict[str, float] = field(default_factory=dict)  # of being drawn; 1 if not named
    noisy_share: float = 0.5  # share of the training utterances whose audio is noisy
    audio_dropout: float = 0.0  # share of the training utterances whose audio is zeroed
    video_dropout: float = 0.0  # share of the others whose video is zeroed
    data_workers: str = "auto"  # processes of each device that read ahead; a number, or "auto"
    gradient_checkpointing: bool = False  # recompute layers in the backward pass: less memory
    valid_every: int = 1000  # steps; 0, with `num_epochs`: at the end of each epoch
    save_every: int = 1000  # the same
    keep_checkpoints: int = 5  # newest checkpoints to keep; `average` is their mean
    deepspeed: str = "conf/deepspeed_zero0.json"
    seed: int = 0
    ctc_warmup: WarmupConfig = field(default_factory=WarmupConfig)

    def __post_init__(self):
        if len(self.betas) != 2:
            raise ValueError(f"train.betas must be two numbers, such as [0.9, 0.98]: {self.betas}")
        if self.data_workers != "auto" and not self.data_workers.isdecimal():
            raise ValueError(f"train.data_workers must be auto or a number: {self.data_workers!r}")
        if min(self.num_steps, self.num_epochs) != 0 or max(self.num_steps, self.num_epochs) < 1:
            raise ValueError(
                f"train.num_steps is {self.num_steps} and train.num_epochs {self.num_epochs}: set"
                " one of them to 0, and the other to 1 or more"
            )
        if not self.num_epochs and 0 in (self.valid_every, self.save_every):
            raise ValueError("train.valid_every and train.save_every must be 1 or more, got 0")


@dataclass(frozen=True)
class DecodeConfig:
    """Search, as mome.decoding does it."""

    num_beams: int = 1
    batch_size: int = 16  # utterances
    tokens_per_second: float = 8.0  # limit of new tokens: this times the length of the clip ...
    extra_tokens: int = 8  # ... plus this number
    length_penalty: float = 1.0


@dataclass(frozen=True)
class Config:
    """All settings of an experiment: one YAML file of conf/."""

    encoders: EncodersConfig = field(default_factory=EncodersConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self):
        _check_limits(self)
        if self.encoders.video_lora_rank and self.model.task == "asr":
            raise ValueError("encoders.video_lora_rank needs a task with video, not asr")
        audio, video = len(self.model.audio_rates), len(self.model.video_rates)
        scales = {"asr": audio, "vsr": video, "avsr": audio * video}
        most = scales.get(self.model.task, sum(scales.values()))
        if (got := self.train.scales_per_step) > most:
            raise ValueError(f"train.scales_per_step must be 0 to {most} (all scales), got {got}")
        step, rates = self.encoders.store_rate, self.model.audio_rates
        if step > 1 and (self.model.compression != "average" or any(r % step for r in rates)):
            raise ValueError(
                f"encoders.store_rate {step} keeps averages of {step} audio frames: that needs"
                f" model.compression=average and audio rates that are multiples of it, not"
                f" {self.model.compression} and {list(rates)}"
            )


def load(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML file, after its base, and then apply "section.key=value" overrides.

    Raises FileNotFoundError, or ValueError (one line: file or command line, setting, value, what is
    allowed) for an unknown key, a value of another type, or one that a field does not allow.
    """
    changes = OmegaConf.create()
    for override in overrides or []:
        if "=" not in override or override.startswith("-"):
            raise ValueError(f"an override is section.key=value, got {override!r}")
        files.parse_yaml(f"command line: {override}", changes.merge_with_dotlist, [override])
    merged: Any = _writable(OmegaConf.structured(Config))
    for where, part in [*_read(Path(path)), ("command line", changes)]:
        part = _with_new_names(part, str(where))
        values = OmegaConf.to_container(part) or {}
        _check_keys(values, Config, where)
        try:
            merged = OmegaConf.merge(merged, part)
        except OmegaConfBaseException as error:
            raise ValueError(_wrong_type(str(error.full_key), values, Config, where)) from error
    try:
        return cast(Config, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: {error.full_key}: {str(error).splitlines()[0]}") from error


def save(config: Any, path: str | Path, comment: str = "") -> None:
    """Write every field, defaults included, as YAML; `load` reads it back to an equal object."""
    head = f"# {comment}\n" if comment else ""
    files.write_text(path, head + OmegaConf.to_yaml(OmegaConf.structured(config)))


def as_dict(config: Any) -> dict:
    """Every field as plain values, sections nested."""
    return cast(dict, OmegaConf.to_container(OmegaConf.structured(config)))


def _read(path: Path, is_base: bool = False) -> list[tuple[Path | str, Any]]:
    """The settings of a file, with its path, after those of its base. A base has none itself."""
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.yaml"))
        raise FileNotFoundError(f"no configuration {path}; in {path.parent}: {', '.join(near)}")
    text = io.StringIO(files.read_yaml_text(path))
    part = files.parse_yaml(str(path), OmegaConf.load, text)
    base = part.pop("base", None) if OmegaConf.is_dict(part) else None
    if base and is_base:
        raise ValueError(f"{path}: it is the base of another file, so it can have no base itself")
    return [*(_read(path.parent / str(base), is_base=True) if base else []), (path, part)]


def new_value(key: str, value: Any) -> Any:
    """What the value of a setting is called now; the value itself when it was not renamed."""
    return OLD_VALUES.get(key, {}).get(str(value), value)


def new_name(key: str) -> str:
    """The name that a setting `section.key` has now; its own when it was not renamed."""
    for old, new in RENAMED.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def _with_new_names(values: Any, where: str) -> Any:
    """Settings with old names under their new ones, each with a warning. ValueError for both."""
    for old, new in RENAMED.items():
        section, name = old.split(".")
        inside: Any = values.get(section) if OmegaConf.is_dict(values) else None
        if not OmegaConf.is_dict(inside) or name not in inside:
            continue
        if new.split(".")[1] in inside:
            raise ValueError(f"{where}: {old} is the old name of {new}; give the new one alone")
        log.warning(f"{where}: {old} is called {new} now")
        inside[new.split(".")[1]] = inside.pop(name)
    return values


def _writable(node: DictConfig) -> DictConfig:
    """Let values be merged into the schema of frozen dataclasses."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        if OmegaConf.is_dict(node._get_node(key)):
            _writable(node[key])
    return node


def _check_keys(values: Any, cls: Any, where: str | Path, prefix: str = "") -> None:
    """Raise ValueError for a key that `cls` does not have, suggesting the near one."""
    if not isinstance(values, dict):
        name = prefix.rstrip(".")
        raise ValueError(f"{files.yaml_place(where, name)}: {name or 'the file'} must be a section")
    fields = {f.name: f.type for f in dataclasses.fields(cls)}
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else f"; known: {', '.join(fields)}"
            place = files.yaml_place(where, f"{prefix}{key}")
            raise ValueError(f"{place}: no setting called {prefix}{key}{hint}")
        kind = fields[key]
        if kind == dict[str, float] and not isinstance(value, dict):
            place = files.yaml_place(where, f"{prefix}{key}")
            raise ValueError(f"{place}: {prefix}{key} must be {KINDS[kind]}, got {value!r}")
        if dataclasses.is_dataclass(kind) and value is not None:
            _check_keys(value, kind, where, f"{prefix}{key}.")


def _wrong_type(key: str, value: Any, cls: Any, where: str | Path) -> str:
    """The error for a value of another type than its field `key`, such as `train.betas[0]`."""
    name = key.split("[")[0]
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else value
        types = getattr(cls, "__annotations__", {}) if dataclasses.is_dataclass(cls) else {}
        cls = types.get(part, cls)
    place, kind = files.yaml_place(where, name), KINDS.get(cls, "a section")
    return f"{place}: {name} must be {kind}, got {value!r}"


def _check_limits(values: Any, prefix: str = "") -> None:
    """ValueError for the first number outside of its LIMITS; what is no number is outside, too."""
    for f in dataclasses.fields(values):
        name, value = f"{prefix}{f.name}", getattr(values, f.name)
        if dataclasses.is_dataclass(value):
            _check_limits(value, f"{name}.")
        least, most = LIMITS.get(name, (0, 0))
        numbers = list(value.values()) if isinstance(value, dict) else value
        numbers = numbers if isinstance(numbers, list) else [numbers]
        if name in LIMITS and (value == [] or not all(least <= n <= most for n in numbers)):
            each = "one number or more, each " if value == [] else ""
            allowed = "above 0 and at most" if least == ABOVE_0 else f"{least:g} to"
            raise ValueError(f"{name} must be {each}{allowed} {most:.12g}, got {value}")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}{hint}")

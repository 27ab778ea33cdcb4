"""What was trained, and on what: trained weights only, with the base models they belong to.

A model folder holds `model.safetensors` (projectors, adapters, delimiters), `config.yaml` (every
setting) and `base.json`: ids and fingerprints of the frozen models, the sha256 of the weights, and
the settings that they were trained with. A model is refused when any of these is not the same. The
folder is written under another name and then renamed, so a folder that has its name is whole.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mome import config, files
from mome.compression import Scale, scales_of
from mome.config import Config

FILE = "model.safetensors"
TOKENIZER = "tokenizer"  # folder of a packed model
SAMPLE = 512  # values read from each end of a parameter
PROBES = ("Transcribe speech and video to text.", " it's 10 o'clock, isn't it? Ça va.")
ENCODER_SETTINGS = ("pad_to_30s", "video_lora_rank", "video_lora_alpha")  # those that matter later
FREE_SETTINGS = {  # of `model`: where and how it runs, and what matters in training alone
    "llm", "llm_dtype", "attention", "quantise", "adapter_init", "router_gain", "balance_weight",
    "balance_over", "scale_weights", "task_weights",
}  # fmt: skip
log = logging.getLogger(__name__)


def fingerprint(
    llm: nn.Module, gathered: Callable = contextlib.nullcontext, whole: bool = False
) -> str:
    """A short text that tells base models apart: names, shapes and values of the parameters.

    A model from the hub and from a folder have the same; so have bfloat16 weights and the same
    weights in float32. Adapters do not count. `gathered([parameter])` is a context in which this
    process holds all of a parameter that is sharded over devices.

    With `whole`, every value counts; without it, some values at both ends of each parameter, as in
    version 0.1. All values of 135M weights take half a second.
    """
    sha = hashlib.sha256()
    for name, parameter in sorted(llm.named_parameters()):
        if ".adapter." in name or name.startswith("adapter."):
            continue
        with gathered([parameter]):
            flat = parameter.detach().flatten()
            values = flat if whole else torch.cat([flat[:SAMPLE], flat[-SAMPLE:]])
            values = values.to("cpu", torch.bfloat16)
            sha.update(f"{name} {tuple(parameter.shape)}".encode())
        sha.update(values.view(torch.int16).numpy().data)
    return sha.hexdigest()[: 64 if whole else 16]


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """sha256 of what a tokenizer does: vocabulary, BOS, EOS, and the ids of two sentences."""
    vocabulary: dict[str, int] = getattr(tokenizer, "get_vocab", dict)()
    probes = [tokenizer(text, add_special_tokens=False).input_ids for text in PROBES]
    ends = tokenizer.bos_token_id, tokenizer.eos_token_id
    text = json.dumps([sorted(vocabulary.items()), ends, probes])
    return hashlib.sha256(text.encode()).hexdigest()


def describe_base(
    llm: nn.Module, tokenizer: Any, features: dict, gathered: Callable = contextlib.nullcontext
) -> dict:
    """The entries of base.json that tell the frozen models apart."""
    return {
        "llm_fingerprint": fingerprint(llm, gathered),
        "llm_sha256": fingerprint(llm, gathered, whole=True),
        "tokenizer_sha256": tokenizer_fingerprint(tokenizer),
        "features": features,
    }


def settings_of(cfg: Config) -> dict[str, Any]:
    """The settings that the weights were trained with and that change what they compute."""
    encoders, model = (config.as_dict(section) for section in (cfg.encoders, cfg.model))
    kept = {f"encoders.{key}": encoders[key] for key in ENCODER_SETTINGS}
    return kept | {f"model.{k}": v for k, v in model.items() if k not in FREE_SETTINGS}


def sha256(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(model_dir: str | Path, weights: Mapping[str, Tensor], cfg: Config, base: dict) -> None:
    """Write a model folder; one of that name is replaced once the new one is whole."""
    model_dir = Path(model_dir)
    tmp_dir = model_dir.with_name(model_dir.name + ".tmp")
    shutil.rmtree(tmp_dir, ignore_errors=True)
    tmp_dir.mkdir(parents=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, tmp_dir / FILE)
    config.save(cfg, tmp_dir / "config.yaml")
    about = {"weights_sha256": sha256(tmp_dir / FILE), "settings": settings_of(cfg)}
    files.write_json(tmp_dir / "base.json", base | about)
    if model_dir.exists():
        shutil.rmtree(model_dir)
    tmp_dir.rename(model_dir)


def steps(exp_dir: Path) -> list[Path]:
    """The folders checkpoints/step_<n> of an experiment, oldest first."""
    folders = [p for p in exp_dir.glob("checkpoints/step_*") if p.suffix != ".tmp"]
    return sorted(folders, key=lambda p: int(p.name.split("_")[1]))


def find_model(exp_dir: Path, name: str) -> Path:
    """The model folder `name` of an experiment: best, average or checkpoints/step_<n>.

    Raises FileNotFoundError, which names the models there are.
    """
    if not (exp_dir / "config.yaml").exists():
        raise FileNotFoundError(f"{exp_dir}/config.yaml is missing: run stage 3 to train")
    model_dir = exp_dir / name
    if not (model_dir / FILE).exists():
        folders = [exp_dir / "best", exp_dir / "average", *steps(exp_dir)]
        found = [str(p.relative_to(exp_dir)) for p in folders if (p / FILE).exists()]
        raise FileNotFoundError(
            f"{exp_dir} has no model {name}; it has {', '.join(found) or 'none: run stage 3'}"
        )
    return model_dir


def choose_scales(cfg: Config, names: list[str] | None) -> list[Scale]:
    """The scales of these names, those trained by default; a warning for one not trained."""
    trained = scales_of(cfg.model.task, cfg.model.audio_rates, cfg.model.video_rates)
    scales = [Scale.parse(name) for name in names] if names else trained
    names_trained = ", ".join(map(str, trained))
    for scale in scales:
        if scale not in trained:
            log.warning(f"scale {scale} was not trained; these were: {names_trained}")
    return scales


def read(model_dir: str | Path) -> dict[str, Tensor]:
    """The trained weights of a model folder.

    Raises FileNotFoundError, or ValueError when they are not those that were saved. The folders of
    version 0.1 do not say which were.
    """
    path = Path(model_dir) / FILE
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: a trained model is a folder with {FILE}, config.yaml and"
            " base.json, such as exp/<tag>/best"
        )
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): train or copy it again") from error
    saved = read_base(model_dir).get("weights_sha256")
    if saved and saved != (found := sha256(path)):
        raise ValueError(
            f"{path} is damaged, or the file of another model: its sha256 is {found[:12]}..., but"
            f" {saved[:12]}... was saved: train or copy it again"
        )
    return weights


def read_base(model_dir: str | Path) -> dict:
    """Ids and fingerprints of the base models of a model folder."""
    path = Path(model_dir) / "base.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: copy the whole folder of the model again")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): train or copy the model again") from None


def check(model_dir: str | Path, cfg: Config, llm: nn.Module, tokenizer: Any) -> None:
    """ValueError when settings, LLM or tokenizer are not those that a model was trained with.

    What the folder of an older version does not say is not checked.
    """
    base = read_base(model_dir)
    found, saved = settings_of(cfg), base.get("settings", {})
    for name in sorted(found.keys() & saved.keys()):
        if found[name] != saved[name]:
            raise ValueError(
                f"{name} is {found[name]}, but the weights of {model_dir} were trained with"
                f" {saved[name]}: give it that value again"
            )
    whole = "llm_sha256" in base
    expected = base.get("llm_sha256" if whole else "llm_fingerprint")
    if expected != (own := fingerprint(llm, whole=whole)):
        raise ValueError(
            f"{model_dir} was trained on another LLM: {base.get('llm')} with fingerprint"
            f" {str(expected)[:16]}, but {cfg.model.llm} has {own[:16]}; set model.llm to the LLM"
            " of the training run"
        )
    expected = base.get("tokenizer_sha256")
    if expected and expected != (own := tokenizer_fingerprint(tokenizer)):
        raise ValueError(
            f"{model_dir} was trained with another tokenizer: sha256 {expected[:12]}..., but that"
            f" of {cfg.model.llm} has {own[:12]}...: give model.llm the tokenizer of the training"
            " run"
        )


# ---- where base models are ----------------------------------------------------------------------


def resolve(cfg: Config, model_dir: str | Path, base_dirs: Sequence[str | Path] = ()) -> Config:
    """The settings with the paths of LLM and encoders as they are on this machine.

    A relative path is looked for in `base_dirs`, in the model's folder, in the folders above it (a
    recipe's `downloads/x` lies beside its `exp/`) and in the current folder. Then its last part is
    looked for in `base_dirs`, and then, under any name, the only model of its kind there: whether
    it is the right one is told by its weights. What is found nowhere stays as it is: it may be an
    id of the hub.
    """
    folder = Path(model_dir).resolve()
    bases = [Path(base) for base in base_dirs]
    places = [*bases, folder, *list(folder.parents)[:4], Path.cwd()]
    inside = [path for base in bases for path in (base, *sorted(base.glob("*/")))]

    def found(name: str, kind: str) -> str:
        candidates = [place / name for place in places]
        candidates += [path for path in inside if path.name == Path(name).name]
        same_kind = [path for path in inside if kind_of(path) == kind]
        candidates += same_kind if len(same_kind) == 1 else []
        return next((str(path) for path in candidates if path.is_dir()), name)

    llm = found(cfg.model.llm, "llm")
    audio, video = found(cfg.encoders.audio, "audio"), found(cfg.encoders.video, "video")
    return dataclasses.replace(
        cfg,
        model=dataclasses.replace(cfg.model, llm=llm),
        encoders=dataclasses.replace(cfg.encoders, audio=audio, video=video),
    )


def kind_of(folder: Path) -> str:
    """Whether a folder holds an "llm", or an "audio" or "video" encoder; "" for anything else."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if "frontend_dim" in found:
        return "video"
    return "audio" if found.get("model_type") == "whisper" else "llm"


def copy_parts(model: Any, model_dir: str | Path, prefixes: list[str]) -> None:
    """Copy weights of a folder into a MoMEModel: those whose names begin with one of `prefixes`.

    Raises ValueError when the folder lacks one of them or has it in another shape.
    """
    weights = read(model_dir)
    with torch.no_grad():
        for name, parameter in model.trained().items():
            if not name.startswith(tuple(prefixes)):
                continue
            if name not in weights or weights[name].shape != parameter.shape:
                found = tuple(weights[name].shape) if name in weights else "none"
                raise ValueError(
                    f"training cannot start from {model_dir}: {name} is {tuple(parameter.shape)} in"
                    f" this model and {found} in that one"
                )
            parameter.copy_(weights[name])


def average(model_dirs: list[Path]) -> dict[str, Tensor]:
    """The mean of the weights of several model folders, summed in float32."""
    sums: dict[str, Tensor] = {}
    for model_dir in model_dirs:
        for name, value in read(model_dir).items():
            sums[name] = sums[name] + value.float() if name in sums else value.float()
    return {name: value / len(model_dirs) for name, value in sums.items()}

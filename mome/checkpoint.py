"""What was trained, and on what: trained weights only, with the base models they belong to.

A model folder holds `model.safetensors` (projectors, adapters, delimiters), `config.yaml` (every
setting) and `base.json` (ids and fingerprints of the frozen models). It is written beside and
renamed, so a folder that has its name is whole.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mome import config as config_file

SAMPLE = 512  # values read from each end of a parameter


def fingerprint(llm: nn.Module, gathered: Callable = contextlib.nullcontext) -> str:
    """A short text that tells base models apart: names, shapes and some values of each parameter.

    The same for a model from the hub and from a folder, in bfloat16 and in float32 made from it;
    adapters do not count. `gathered([parameter])` is a context in which this process holds the
    whole parameter, where each device has a part of it.
    """
    sha = hashlib.sha256()
    for name, parameter in sorted(llm.named_parameters()):
        if ".adapter." in name or name.startswith("adapter."):
            continue
        with gathered([parameter]):
            flat = parameter.detach().flatten()
            ends = torch.cat([flat[:SAMPLE], flat[-SAMPLE:]]).to("cpu", torch.bfloat16)
            sha.update(f"{name} {tuple(parameter.shape)}".encode())
        sha.update(ends.view(torch.int16).numpy().tobytes())
    return sha.hexdigest()[:16]


def save(model_dir: str | Path, weights: Mapping[str, Tensor], config, base: dict) -> None:
    """Write a model folder; one of that name is replaced once the new one is whole."""
    model_dir = Path(model_dir)
    beside = model_dir.with_name(model_dir.name + ".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, beside / FILE)
    config_file.save(config, beside / "config.yaml")
    (beside / "base.json").write_text(json.dumps(base, indent=1, sort_keys=True) + "\n")
    if model_dir.exists():
        shutil.rmtree(model_dir)
    beside.rename(model_dir)


FILE = "model.safetensors"


def read(model_dir: str | Path) -> dict[str, Tensor]:
    """The trained weights of a model folder."""
    path = Path(model_dir) / FILE
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: a trained model is a folder with {FILE}, config.yaml and"
            " base.json, such as exp/<tag>/best"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): train or copy it again") from error


def read_base(model_dir: str | Path) -> dict:
    """Ids and fingerprints of the base models of a model folder."""
    return json.loads((Path(model_dir) / "base.json").read_text())


def load_into(model: nn.Module, model_dir: str | Path) -> None:
    """Give a freshly built model the trained weights of a folder.

    Raises ValueError when the folder belongs to another LLM, or when weights are missing, left
    over or of another shape. The CTC alignment, used in training alone, may be either.
    """
    weights = read(model_dir)
    expected, found = read_base(model_dir).get("llm_fingerprint"), fingerprint(model.llm)
    if expected != found:
        raise ValueError(
            f"{model_dir} was trained on another LLM: on {read_base(model_dir).get('llm')}"
            f" (fingerprint {expected}), but {model.config.llm} has {found}; set model.llm to the"
            " one it was trained on"
        )
    own = {k: v for k, v in model.trained().items() if not k.startswith("alignment.")}
    weights = {k: v for k, v in weights.items() if not k.startswith("alignment.")}
    odd = sorted(own.keys() ^ weights.keys()) or sorted(
        k for k in own if own[k].shape != weights[k].shape
    )
    if odd:
        raise ValueError(
            f"{model_dir}/{FILE} does not fit its configuration: {len(odd)} weights missing, left"
            f" over or of another shape, such as {odd[0]}"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def copy_parts(model: nn.Module, model_dir: str | Path, prefixes: list[str]) -> None:
    """Give the trained weights whose names begin with one of `prefixes` the values of a folder.

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
                    f"{model_dir} cannot be started from: {name} is {tuple(parameter.shape)} in"
                    f" this model and {found} there"
                )
            parameter.copy_(weights[name])


def average(model_dirs: list[Path]) -> dict[str, Tensor]:
    """The mean of the weights of several model folders, summed in float32."""
    total: dict[str, Tensor] = {}
    for model_dir in model_dirs:
        for name, value in read(model_dir).items():
            total[name] = total[name] + value.float() if name in total else value.float()
    return {name: value / len(model_dirs) for name, value in total.items()}

"""What was trained, and on what: trained weights only, with the base models they belong to.

A model folder holds `model.safetensors` (projectors, adapters, delimiters), `config.yaml` (every
setting) and `base.json` (ids and fingerprints of the frozen models). It is written under another
name and then renamed, so a folder that has its name is whole.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mome import config, files
from mome.config import Config

FILE = "model.safetensors"
SAMPLE = 512  # values read from each end of a parameter


def fingerprint(llm: nn.Module, gathered: Callable = contextlib.nullcontext) -> str:
    """A short text that tells base models apart: names, shapes and some values of each parameter.

    A model from the hub and from a folder have the same; so have bfloat16 weights and the same
    weights in float32. Adapters do not count. `gathered([parameter])` is a context in which this
    process holds all of a parameter that is sharded over devices.
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


def save(model_dir: str | Path, weights: Mapping[str, Tensor], cfg: Config, base: dict) -> None:
    """Write a model folder; one of that name is replaced once the new one is whole."""
    model_dir = Path(model_dir)
    tmp_dir = model_dir.with_name(model_dir.name + ".tmp")
    shutil.rmtree(tmp_dir, ignore_errors=True)
    tmp_dir.mkdir(parents=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in weights.items()}, tmp_dir / FILE)
    config.save(cfg, tmp_dir / "config.yaml")
    files.write_json(tmp_dir / "base.json", base)
    if model_dir.exists():
        shutil.rmtree(model_dir)
    tmp_dir.rename(model_dir)


def steps(exp_dir: Path) -> list[Path]:
    """The folders checkpoints/step_<n> of an experiment, oldest first."""
    folders = [p for p in exp_dir.glob("checkpoints/step_*") if p.suffix != ".tmp"]
    return sorted(folders, key=lambda p: int(p.name.split("_")[1]))


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

"""Load a trained model and its encoders: from an experiment, a model folder, or the hub."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from mome import checkpoint, config, decoding
from mome.data import VIDEO_FPS
from mome.data.features import load_encoders
from mome.transcription.recogniser import Recogniser

HUB_FILES = ["*.safetensors", "*.json", "*.yaml", "*.md", "*.txt", "*.model"]  # no pickle
USUAL_S = 16.0  # longest piece for a model that does not say how long its clips were


def load_model(
    name_or_path: str | Path,
    device: str | torch.device | None = None,
    base_dirs: Iterable[str | Path] = (),
    model: str = "best",
    overrides: Iterable[str] = (),
) -> Recogniser:
    """A trained model, from an experiment (exp/<tag>), a model folder or a hub id.

    Args:
        device: "cpu", "cuda", ...; by default a GPU when there is one.
        base_dirs: more folders in which LLM and encoders are looked for.
        model: of an experiment: best, average or checkpoints/step_<n>.
        overrides: changes to the settings, such as "decode.num_beams=15".

    Raises FileNotFoundError or ValueError when a part is missing, damaged or another one than in
    training.
    """
    model_dir = find_folder(name_or_path, model)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    cfg = config.load(model_dir / "config.yaml", list(overrides))
    cfg = checkpoint.resolve(cfg, model_dir, list(base_dirs))
    built, tokenizer, base = decoding.load_model(model_dir, cfg, device, list(base_dirs))
    encoders = dict(zip(["video"], built.video_encoder, strict=False))  # none if it was frozen
    missing = [stream for stream in built.streams if stream not in encoders]
    encoders |= load_encoders(missing, cfg.encoders, device)
    check_encoders(model_dir, encoders, base)
    longest_s = base.get("longest_s") or min(USUAL_S, cfg.train.max_frames / VIDEO_FPS)
    return Recogniser(model_dir, cfg, built, tokenizer, encoders, longest_s)


def find_folder(name_or_path: str | Path, model: str = "best") -> Path:
    """The model folder of an experiment, the folder itself, or that of a hub id, downloaded.

    Raises FileNotFoundError when it is neither.
    """
    path = Path(name_or_path)
    if (path / checkpoint.FILE).exists():
        return path
    if (path / "config.yaml").exists():
        return checkpoint.find_model(path, model)
    if path.exists():
        raise FileNotFoundError(
            f"{path} is no trained model: give exp/<tag>, trained by stage 3, or a folder made by"
            " mome pack"
        )
    parts = str(name_or_path).split("/")
    if len(parts) != 2 or not all(parts) or parts[0] in (".", "..", "~", "exp"):
        raise FileNotFoundError(f"{path} does not exist: give the folder of a model or its hub id")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = huggingface_hub.snapshot_download(str(name_or_path), allow_patterns=HUB_FILES)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"{name_or_path} is no folder here, and the hub does not give it ({reason}): give the"
            " folder of a model or its hub id"
        ) from None
    return Path(found)


def check_encoders(model_dir: Path, encoders: dict[str, Any], base: dict) -> None:
    """ValueError when an encoder has other weights than the one of the training run."""
    for stream, encoder in encoders.items():
        expected = base.get("features", {}).get(f"{stream}_sha256")
        if expected and expected != encoder.sha256:
            raise ValueError(
                f"{model_dir} was trained with another {stream} encoder: sha256"
                f" {expected[:12]}..., but {encoder.name} has {encoder.sha256[:12]}...: set"
                f" encoders.{stream} to that of the training run"
            )

"""A trained model with its encoders, and the frames that it reads of pieces of recordings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mome.compression import Scale
from mome.config import Config
from mome.data import AUDIO_FPS, SAMPLE_RATE, VIDEO_FPS, crops
from mome.data.recording import Piece
from mome.model import MoMEModel


@dataclass
class Recogniser:
    """A trained model with its encoders, ready for recordings.

    Attributes:
        dir: the model's folder.
        config: the settings of its training.
        model, tokenizer: as `mome.decoding` takes them.
        encoders: by stream.
        most_s: the longest piece of a recording in seconds: the longest clip of the training.
    """

    dir: Path
    config: Config
    model: MoMEModel
    tokenizer: Any
    encoders: dict[str, Any]
    most_s: float

    @property
    def scales(self) -> list[Scale]:
        """The scales that were trained, the finest first."""
        return self.model.scales

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


@torch.inference_mode()
def encode(model: Recogniser, pieces: list[Piece], scale: Scale) -> dict[str, list[Tensor]]:
    """The frames of each piece, by stream: those that a scale reads, enough for a token of it.

    A stream that a piece lacks is frames of zeros.
    """
    frames: dict[str, list[Tensor]] = {}
    if scale.audio:
        least = scale.audio * (SAMPLE_RATE // AUDIO_FPS)
        sounds = [None if p.sound is None else at_least(p.sound, least) for p in pieces]
        frames["audio"] = frames_of(model, "audio", sounds, pieces)
    if scale.video:
        stored = (p.mouth if p.mouth is None else crops.as_stored(p.mouth) for p in pieces)
        mouths = [None if m is None else at_least(m, scale.video) for m in stored]
        frames["video"] = frames_of(model, "video", mouths, pieces)
    return frames


def at_least(media: np.ndarray, length: int) -> np.ndarray:
    """Media that are too short for a token are made longer: with silence, or the last image."""
    missing = max(0, length - len(media))
    if media.ndim == 1:
        return np.pad(media, (0, missing))
    return np.pad(media, ((0, missing), (0, 0), (0, 0)), mode="edge")


def frames_of(
    model: Recogniser, stream: str, media: list[np.ndarray | None], pieces: list[Piece]
) -> list[Tensor]:
    """The frames of each piece; zeros, as many as it lasts, where it has no such stream."""
    encoder = model.encoders[stream]
    fps = AUDIO_FPS if stream == "audio" else VIDEO_FPS
    there = [m for m in media if m is not None]
    found = iter(encoder(there) if there else [])
    least = max((s.audio if stream == "audio" else s.video) or 1 for s in model.scales)
    return [
        torch.zeros(max(least, round((piece.end - piece.start) * fps)), encoder.dim).to(
            model.device
        )
        if m is None
        else next(found).to(model.device)
        for m, piece in zip(media, pieces, strict=True)
    ]

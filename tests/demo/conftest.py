"""A recogniser that hears without an encoder, and a clip for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WordTokenizer, baby_model

from mome.config import Config
from mome.data import SAMPLE_RATE, audio
from mome.transcription.recogniser import Recogniser


class Listener:
    """Stands in for a speech encoder: frames of 20 ms that depend on the sound."""

    dim, name, sha256 = 8, "listener", ""

    def __call__(self, sounds: list[np.ndarray]) -> list[torch.Tensor]:
        step = SAMPLE_RATE // 50
        return [
            torch.tensor(x[: len(x) // step * step].reshape(-1, 40, 8).mean(axis=1)) for x in sounds
        ]


@pytest.fixture(scope="module")
def model() -> Recogniser:
    baby = baby_model(task="asr", audio_rates=[2, 4])
    return Recogniser(
        Path("exp/baby/best"), Config(model=baby.config), baby, WordTokenizer(),
        {"audio": Listener()}, 16.0,
    )  # fmt: skip


@pytest.fixture
def clip(tmp_path) -> Path:
    samples = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32)
    audio.write(tmp_path / "clip.wav", 0.1 * samples)
    return tmp_path / "clip.wav"

"""Read and write audio: 1-D float32 in [-1, 1], 16 kHz unless told otherwise."""

import logging
import os
from math import gcd
from pathlib import Path

import av
import numpy as np
import soundfile
from scipy.signal import resample_poly

log = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
SOUND_FILES = {".wav", ".flac", ".ogg"}


def read(path: str | Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The audio of a sound or media file, one channel (the mean of all), at `sample_rate`.

    Raises FileNotFoundError, or ValueError when the file has no audio or cannot be decoded.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        samples, rate = _decode(path)
    except (av.error.FFmpegError, soundfile.SoundFileError, OSError) as error:
        raise ValueError(f"{path}: its audio cannot be decoded ({error})") from error
    if not samples.size:
        raise ValueError(f"{path} has no audio")
    if rate != sample_rate:
        log.debug(f"{path}: audio resampled from {rate} to {sample_rate} Hz")
        common = gcd(rate, sample_rate)
        samples = resample_poly(samples, sample_rate // common, rate // common)
    return np.asarray(samples, dtype=np.float32)


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Samples (n,) and their rate."""
    if path.suffix.lower() in SOUND_FILES:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return samples.mean(axis=1), rate
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros(0), SAMPLE_RATE
        stream = container.streams.audio[0]
        to_float = av.AudioResampler(format="fltp")
        parts = [
            out.to_ndarray()
            for frame in container.decode(stream)
            for out in to_float.resample(frame)
        ]
        parts += [out.to_ndarray() for out in to_float.resample(None)]
        if not parts:
            return np.zeros(0), SAMPLE_RATE
        return np.concatenate(parts, axis=1).mean(axis=0), stream.rate


def write(path: str | Path, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write 16-bit wav, beside and renamed. What is beyond [-1, 1] is an error, not cut off."""
    path = Path(path)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > 1:
        raise ValueError(f"{path}: samples reach {peak:.2f}, beyond 1: scale them first")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        soundfile.write(beside, samples, sample_rate, subtype="PCM_16", format="WAV")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)

"""Read and write audio: 1-D float32 in [-1, 1], 16 kHz unless told otherwise."""

import functools
import io
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
SOUND_FILES = {".wav", ".flac", ".ogg"}  # by soundfile; all else by FFmpeg


def read(path: str | Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The audio of a sound or media file, one channel (the mean of all), at `sample_rate`.

    Of a media file with a picture the sound begins where the picture does: it is cut or filled with
    silence in front. Resampling is told in the log. Raises FileNotFoundError, or ValueError when
    the file has no audio or cannot be decoded.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        samples, rate = _decode(path)
    except (av.FFmpegError, soundfile.SoundFileError) as error:
        raise ValueError(f"{path}: its audio cannot be decoded ({error})") from None
    if not samples.size:
        raise ValueError(f"{path} has no audio")
    if rate != sample_rate:
        tell_resampled(rate, sample_rate)
        common = gcd(rate, sample_rate)
        samples = resample_poly(samples, sample_rate // common, rate // common)
    return np.asarray(samples, dtype=np.float32)


@functools.cache
def tell_resampled(rate: int, sample_rate: int) -> None:
    """Once a process for each rate: a line for each file would drown the log of a corpus."""
    log.info("audio at %d Hz is resampled to %d", rate, sample_rate)


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Samples (n,) and their rate."""
    if path.suffix.lower() in SOUND_FILES:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return samples.mean(axis=1), rate
    with av.open(str(path), metadata_errors="replace") as container:
        if not container.streams.audio:
            raise ValueError(f"{path} has no audio stream")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise ValueError(f"{path} has an audio stream of an unknown kind")
        to_float = av.AudioResampler(format="fltp", rate=stream.rate)
        parts, start = [], None
        for frame in container.decode(stream):
            start = frame.time if start is None else start
            parts += [out.to_ndarray().mean(axis=0) for out in to_float.resample(frame)]
        parts += [out.to_ndarray().mean(axis=0) for out in to_float.resample(None)]
        late = (start or 0.0) - _start_of_picture(container, start or 0.0)
    lead = round(late * stream.rate)
    samples = np.concatenate([np.zeros(max(lead, 0), np.float32), *parts])
    return samples[max(-lead, 0) :], stream.rate


def _start_of_picture(container: av.container.InputContainer, default: float) -> float:
    """The time of the first picture in seconds, or `default` when there is none or it is untold."""
    for stream in container.streams.video[:1]:
        if stream.start_time is not None:
            return float(stream.start_time * stream.time_base)
    return default


def write(path: str | Path, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write 16-bit wav, beside and renamed. What is beyond [-1, 1] is an error, not cut off."""
    path = Path(path)
    peak = float(np.abs(samples).max(initial=0.0))
    if not peak <= 1:
        raise ValueError(f"{path}: samples reach {peak:.5g}, beyond 1: scale them first")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Made in memory: on a full disk libsndfile itself says no more than that it failed.
        wav = io.BytesIO()
        soundfile.write(wav, to_int16(samples), sample_rate, subtype="PCM_16", format="WAV")
        beside.write_bytes(wav.getvalue())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """The nearest 16-bit samples; read back, sample n is n / 32768."""
    scaled = np.round(np.asarray(samples, dtype=np.float64) * 32768)
    return np.clip(scaled, -32768, 32767).astype(np.int16)

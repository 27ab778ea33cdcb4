"""Read and write audio: 1-D float32 in [-1, 1], at 16 kHz unless another rate is given."""

import functools
import io
import logging
from math import gcd
from pathlib import Path

import av
import numpy as np
import soundfile

from mome import files
from mome.data import SAMPLE_RATE

log = logging.getLogger(__name__)

SOUND_FILES = {".wav", ".flac", ".ogg"}  # read by soundfile; all others by FFmpeg


def read(path: str | Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The audio of a sound or media file: the mean of its channels, at `sample_rate`.

    The audio of a video begins with its first image: earlier samples are cut off, and silence fills
    a late start. The log reports resampling. Raises FileNotFoundError, or ValueError when the file
    has no audio or cannot be decoded.
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
        log_resampled(rate, sample_rate)
        common = gcd(rate, sample_rate)
        from scipy.signal import resample_poly  # takes half a second to import

        samples = resample_poly(samples, sample_rate // common, rate // common)
    return np.asarray(samples, dtype=np.float32)


@functools.cache
def log_resampled(rate: int, sample_rate: int) -> None:
    """Once per process and rate: one line per file would flood the log."""
    log.info("audio at %d Hz is resampled to %d", rate, sample_rate)


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Samples (n,) and their rate in Hz."""
    if path.suffix.lower() in SOUND_FILES:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return samples.mean(axis=1), rate
    with av.open(str(path), metadata_errors="replace") as container:
        if not container.streams.audio:
            raise ValueError(f"{path} has no audio stream")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise ValueError(f"{path} has an audio stream of an unknown codec")
        to_float = av.AudioResampler(format="fltp", rate=stream.rate)
        parts: list[np.ndarray] = []
        start: float | None = None
        for frame in container.decode(stream):
            start = frame.time if start is None else start
            parts += [out.to_ndarray().mean(axis=0) for out in to_float.resample(frame)]
        parts += [out.to_ndarray().mean(axis=0) for out in to_float.resample(None)]
        late = (start or 0.0) - _start_of_video(container, start or 0.0)
    lead = round(late * stream.rate)
    samples = np.concatenate([np.zeros(max(lead, 0), np.float32), *parts])
    return samples[max(-lead, 0) :], stream.rate


def _start_of_video(container: av.container.InputContainer, default: float) -> float:
    """The time of the first image in seconds, or `default` when the file does not say."""
    for stream in container.streams.video[:1]:
        if stream.start_time is not None and stream.time_base is not None:
            return float(stream.start_time * stream.time_base)
    return default


def write(path: str | Path, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write a 16-bit wav file. Raises ValueError for samples beyond [-1, 1]: nothing is clipped."""
    peak = float(np.abs(samples).max(initial=0.0))
    if not peak <= 1:
        raise ValueError(f"{path}: samples reach {peak:.5g}, beyond 1: scale them first")
    # Made in memory: when a disk is full, libsndfile does not say so in its error.
    wav = io.BytesIO()
    soundfile.write(wav, to_int16(samples), sample_rate, subtype="PCM_16", format="WAV")
    with files.atomic_write(path) as tmp_path:
        tmp_path.write_bytes(wav.getvalue())


def to_int16(samples: np.ndarray) -> np.ndarray:
    """The nearest 16-bit samples; `read` gives sample n as n / 32768."""
    scaled = np.round(np.asarray(samples, dtype=np.float64) * 32768)
    return np.clip(scaled, -32768, 32767).astype(np.int16)

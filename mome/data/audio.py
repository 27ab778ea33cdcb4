"""Read and write audio: 1-D float32 in [-1, 1], at 16 kHz unless another rate is given.

what a file has                   what is read
another sample rate               resampled, with an error below -90 dB up to 93 % of the band
two channels, or unknown ones     their mean
5.1 and other layouts             one channel, mixed as FFmpeg does (`GAINS`): the low-frequency
                                  channel is left out
several audio streams             the default stream
audio that begins after or before silence before it, or its beginning cut off: sample 0 is heard
the video                         with the first image
a gap in the time stamps          silence, and a warning with the number of seconds
pieces that cannot be decoded     the same; a file that has lost more than a tenth of them
                                  (`media.MAX_LOST`) is refused
time stamps that jump by 10 s     refused
silence only                      read as it is; `is_silent` says so
"""

import functools
import io
import logging
from math import gcd
from pathlib import Path

import av
import numpy as np
import soundfile

from mome import files
from mome.data import SAMPLE_RATE, media

log = logging.getLogger(__name__)

SOUND_FILES = {".wav", ".flac", ".ogg"}  # read by soundfile; all others by FFmpeg
SILENT = 2**-15  # the largest sample of silence: what a 16-bit file cannot hold
MAX_APART_S = 0.04  # seconds; where time stamps and samples differ by more, there is a gap
TAPS = 48  # of the resampling filter, on each side, in samples of the lower rate
BETA = 10.0  # of its Kaiser window: 100 dB
# Of the channels of a layout, before they are divided by their sum: ITU-R BS.775 with the surround
# channels at -3 dB, as in FFmpeg. The names are FFmpeg's.
FRONT, BACK = 2**-0.5, 0.5
GAINS = {"FC": 1.0, "LFE": 0.0, "LFE2": 0.0}
GAINS |= dict.fromkeys(("FL", "FR", "FLC", "FRC"), FRONT)
GAINS |= dict.fromkeys(("BL", "BR", "BC", "SL", "SR"), BACK)
LAYOUTS = {3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # where a file names none


def read(path: str | Path, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The audio of a sound or media file, as one channel at `sample_rate`.

    The audio of a video begins with its first image: earlier samples are cut off, and silence fills
    a late start. The log reports resampling and gaps. Raises FileNotFoundError, or ValueError when
    the file has no audio or cannot be decoded.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        samples, rate = _decode(path)
    except (av.FFmpegError, soundfile.SoundFileError) as error:
        why = error.strerror if isinstance(error, av.FFmpegError) else error
        raise ValueError(f"{path}: its audio cannot be decoded ({why})") from None
    if not samples.size:
        raise ValueError(f"{path} has no audio")
    if rate != sample_rate:
        log_resampled(rate, sample_rate)
        samples = resample(samples, rate, sample_rate)
    return np.asarray(samples, dtype=np.float32)


def is_silent(samples: np.ndarray) -> bool:
    """Whether no sample would be other than zero in a 16-bit file."""
    return float(np.abs(samples).max(initial=0.0)) < SILENT


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Samples (n,) at another rate, (ceil(n * new_rate / rate),), by a linear-phase filter.

    It lets through 93 % of the band that both rates have, and holds off what would be mirrored into
    that part by 100 dB.
    """
    from scipy.signal import firwin, resample_poly  # takes half a second to import

    common = gcd(rate, new_rate)
    up, down = new_rate // common, rate // common
    most = max(up, down)
    window = firwin(2 * TAPS * most + 1, 1 / most, window=("kaiser", BETA))
    return resample_poly(samples, up, down, window=window.astype(samples.dtype))


@functools.cache
def log_resampled(rate: int, sample_rate: int) -> None:
    """Once per process and rate: one line per file would flood the log."""
    log.info("audio at %d Hz is resampled to %d", rate, sample_rate)


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Samples (n,) and their rate in Hz."""
    if path.suffix.lower() in SOUND_FILES and soundfile.info(path).channels <= 2:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return samples.mean(axis=1), rate
    with av.open(str(path), metadata_errors="replace") as container:
        frames = media.Frames(container, media.find_stream(container, "audio", path), path)
        parts, begin, rate = _in_time(frames)
        lead = round((begin - _start_of_video(container, begin)) * rate)
    samples = np.concatenate([np.zeros(max(lead, 0), np.float32), *parts])
    return samples[max(-lead, 0) :], rate


def _in_time(frames: media.Frames) -> tuple[list[np.ndarray], float, int]:
    """The samples of a stream in parts, with silence in its gaps; its start in seconds; its rate.

    Sound that comes twice, by the time stamps, is left out the second time. Raises ValueError when
    the time stamps jump, the rate changes, or too much is lost.
    """
    parts: list[np.ndarray] = []
    begin, rate, num, silence = 0.0, 0, 0, 0.0
    for frame in frames:
        samples = _mix(frame)
        begin, rate = (begin, rate) if parts else (frame.time or 0.0, frame.sample_rate)
        if frame.sample_rate != rate:
            raise ValueError(
                f"{frames.path}: its audio changes from {rate} to {frame.sample_rate} Hz"
            )
        now = num / rate
        apart = 0.0 if frame.time is None else frame.time - begin - now
        media.check_jump(abs(apart), now, frames.path)
        if apart > MAX_APART_S:
            samples = np.concatenate([np.zeros(round(apart * rate), np.float32), samples])
            silence += apart
        elif apart < -MAX_APART_S:
            samples = samples[round(-apart * rate) :]
        parts.append(samples)
        num += len(samples)
    lost = frames.check()
    if lost or silence:
        log.warning(
            f"{frames.path}: {lost or 'its audio has gaps'}; {silence:.2f} s are silence instead"
        )
    return parts, begin, rate


def _mix(frame: av.AudioFrame) -> np.ndarray:
    """The samples (n,) float32 of a decoded frame in one channel, from -1 to 1."""
    layout = frame.layout
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, layout.nb_channels).T
    if samples.dtype.kind == "u":
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    return (gains_of(layout) @ samples).astype(np.float32)


def gains_of(layout: av.AudioLayout) -> np.ndarray:
    """What each channel contributes to the mix, (channels,) with the sum 1.

    A layout that is not known is that of FFmpeg for as many channels; other channels are averaged.
    """
    names = [channel.name for channel in layout.channels]
    if not all(name in GAINS for name in names) and len(names) in LAYOUTS:
        names = [channel.name for channel in av.AudioLayout(LAYOUTS[len(names)]).channels]
    gains = np.array([GAINS.get(name, 0.0) for name in names], dtype=np.float32)
    if not all(name in GAINS for name in names) or not gains.sum():
        gains = np.ones(len(names), np.float32)
    return gains / gains.sum()


def _start_of_video(container: av.container.InputContainer, default: float) -> float:
    """When the video of an open file starts, in seconds; `default` when there is no video."""
    try:
        start = media.start_of(media.find_stream(container, "video", ""))
    except ValueError:
        return default
    return default if start is None else start


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

"""Mix speech with noise at a given signal-to-noise ratio (MoME §4.1); noise of our own making.

Powers are means over the whole utterance, pauses included. Signals are 1-D, at 16 kHz; everything
random comes from the generator that is passed in, so a seed repeats it bit for bit.
"""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

Decibels = float
Signal = TypeVar("Signal")  # np.ndarray or torch.Tensor, (num_samples,)

MADE = ("babble", "speech_shaped", "pink", "white")
LOWEST_PINK = 20 / 16_000  # of the sample rate, that is 20 Hz; below it, pink noise is flat


def add_noise(speech: Signal, noise: Signal, snr: Decibels) -> Signal:
    """`speech` plus `noise` (of the same length), scaled so that the mix has this SNR.

    numpy arrays and torch tensors alike. 0 dB is equal power. Errors as `gain_for`.
    """
    return speech + gain_for(speech, noise, snr) * noise


def gain_for(speech: Signal, noise: Signal, snr: Decibels) -> float:
    """The factor on `noise` (as long as `speech`) that gives the mix this SNR; 0 dB is 0 dB.

    Raises ValueError when they are not 1-D and of one length, or when one of them is silent.
    """
    if len(speech.shape) != 1 or tuple(speech.shape) != tuple(noise.shape):
        raise ValueError(
            f"noise has shape {tuple(noise.shape)}, but speech has {tuple(speech.shape)}: both must"
            " be 1-D and of one length (see segment)"
        )
    powers = power(speech), power(noise)
    for which, value in zip(("speech", "noise"), powers, strict=True):
        if not 0 < value < float("inf"):
            what = "is silent" if value == 0 else "is not finite"
            raise ValueError(f"the {which} {what}: it has no signal-to-noise ratio")
    return (powers[0] / powers[1]) ** 0.5 * 10 ** (-snr / 20)


def power(x: Signal) -> float:
    """Mean square, in float64 whatever the signal's type; 0 for an empty one."""
    x = x.detach().cpu().numpy() if hasattr(x, "detach") else x
    x = np.asarray(x, dtype=np.float64)
    return float(np.mean(np.square(x))) if x.size else 0.0


def segment(noise: np.ndarray, length: int, offset: int) -> np.ndarray:
    """`length` samples of `noise` from `offset` on, from its start again where it ends."""
    if len(noise) == 0:
        raise ValueError("the noise is empty")
    return np.take(noise, np.arange(offset, offset + length), mode="wrap")


def make_babble(
    waveforms: Iterable[np.ndarray], length: int, rng: np.random.Generator
) -> np.ndarray:
    """Voices at equal power, each from a random place on and going round, summed; power 1.

    A voice that is silent there adds nothing. Raises ValueError when all are, or there is none.
    """
    babble = np.zeros(length)
    for voice in waveforms:
        piece = segment(np.asarray(voice, dtype=float), length, int(rng.integers(len(voice))))
        babble += piece / max(power(piece) ** 0.5, 1e-6)
    return unit_power(babble)


def make_coloured(colour: str, length: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of power 1: `white`, or `pink` (3 dB less an octave, from 20 Hz on)."""
    white = rng.normal(size=length)
    if colour == "white":
        return unit_power(white)
    if colour == "pink":
        return _shaped(white, np.maximum(np.fft.rfftfreq(length), LOWEST_PINK) ** -0.5)
    raise ValueError(f"noise is made in white or pink, got '{colour}'")


def make_speech_shaped(
    waveforms: Iterable[np.ndarray], length: int, rng: np.random.Generator
) -> np.ndarray:
    """Gaussian noise of power 1 with the long-term spectrum of the given speech."""
    window = np.hanning(512)
    spectrum = np.zeros(257)
    for wave in waveforms:
        for start in range(0, len(wave) - 512, 256):
            spectrum += np.square(np.abs(np.fft.rfft(wave[start : start + 512] * window)))
    if not spectrum.any():
        raise ValueError("speech-shaped noise needs speech of at least 512 samples")
    place = np.linspace(0, 256, length // 2 + 1)
    return _shaped(rng.normal(size=length), np.sqrt(np.interp(place, np.arange(257), spectrum)))


def _shaped(white: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    return unit_power(np.fft.irfft(np.fft.rfft(white) * amplitude, n=len(white)))


def unit_power(x: np.ndarray) -> np.ndarray:
    """The signal scaled to power 1. Raises ValueError for silence."""
    value = power(x)
    if not 0 < value < float("inf"):
        raise ValueError(f"a signal of {len(x)} samples and power {value:g} cannot be noise")
    return x / value**0.5

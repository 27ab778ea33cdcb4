"""Mix speech with noise at a given signal-to-noise ratio (MoME §4.1); noise of our own making.

Powers are means over the whole utterance. Signals are 1-D float arrays at 16 kHz; everything random
comes from the generator that is passed in.
"""

import numpy as np

Decibels = float

MADE = ("babble", "speech_shaped", "pink", "white")


def gain_for(speech: np.ndarray, noise: np.ndarray, snr: Decibels) -> float:
    """The factor on `noise` (as long as `speech`) that gives the mix this SNR; 0 dB is 0 dB.

    Raises ValueError when the lengths differ or one of the signals is silent.
    """
    if speech.shape != noise.shape:
        raise ValueError(f"noise has {noise.shape} samples, but speech has {speech.shape}")
    powers = float(np.mean(np.square(speech))), float(np.mean(np.square(noise)))
    if min(powers) <= 0:
        which = "speech" if powers[0] <= 0 else "noise"
        raise ValueError(f"the {which} is silent: it has no signal-to-noise ratio")
    return (powers[0] / powers[1]) ** 0.5 * 10 ** (-snr / 20)


def add_noise(speech: np.ndarray, noise: np.ndarray, snr: Decibels) -> np.ndarray:
    """`speech` plus `noise` (of the same length), scaled so that the mix has this SNR."""
    return speech + gain_for(speech, noise, snr) * noise


def segment(noise: np.ndarray, length: int, offset: int) -> np.ndarray:
    """`length` samples of `noise` from `offset` on, from its start again where it ends."""
    if len(noise) == 0:
        raise ValueError("the noise is empty")
    return np.take(noise, np.arange(offset, offset + length), mode="wrap")


def make_babble(waveforms: list[np.ndarray], length: int, rng: np.random.Generator) -> np.ndarray:
    """Voices at equal power, each from a random place on, summed; power 1."""
    if not waveforms:
        raise ValueError("babble needs at least one voice")
    babble = np.zeros(length)
    for voice in waveforms:
        piece = segment(np.asarray(voice, dtype=float), length, int(rng.integers(len(voice))))
        babble += piece / max(float(np.sqrt(np.mean(np.square(piece)))), 1e-6)
    return babble / max(float(np.sqrt(np.mean(np.square(babble)))), 1e-6)


def make_coloured(colour: str, length: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of power 1: `white`, or `pink` (3 dB less an octave)."""
    white = rng.normal(size=length)
    if colour == "white":
        return white
    if colour == "pink":
        frequency = np.maximum(np.fft.rfftfreq(length), 1 / length)
        return _shaped(white, frequency**-0.5)
    raise ValueError(f"noise is made in white or pink, got '{colour}'")


def make_speech_shaped(
    waveforms: list[np.ndarray], length: int, rng: np.random.Generator
) -> np.ndarray:
    """Gaussian noise of power 1 with the long-term spectrum of the given speech."""
    window = np.hanning(512)
    power = np.zeros(257)
    for wave in waveforms:
        for start in range(0, len(wave) - 512, 256):
            power += np.square(np.abs(np.fft.rfft(wave[start : start + 512] * window)))
    if not power.any():
        raise ValueError("speech-shaped noise needs speech of at least 512 samples")
    place = np.linspace(0, 256, length // 2 + 1)
    return _shaped(rng.normal(size=length), np.sqrt(np.interp(place, np.arange(257), power)))


def _shaped(white: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    shaped = np.fft.irfft(np.fft.rfft(white) * amplitude, n=len(white))
    return shaped / np.sqrt(np.mean(np.square(shaped)))

"""Noise for speech: mixed in at a signal-to-noise ratio, made here or taken from files (MoME A.3).

`add_noise` mixes, `make` makes noise, and `Noise` draws the noise and the SNR of one utterance
after another. Powers are means over the whole utterance, pauses included. Signals are 1-D, at
16 kHz. Everything random comes from the generator that is passed in, so a seed repeats it bit for
bit.
"""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mome.config import NOISES
from mome.data import SAMPLE_RATE, audio, datadir

Decibels = float
Signal = Any  # np.ndarray or torch.Tensor, (num_samples,)

MADE = NOISES  # kinds that `make` can make
NEEDS_VOICES = ("babble", "speech_shaped")  # of these, the kinds that are made of speech
LOWEST_PINK = 20 / SAMPLE_RATE  # 20 Hz as a share of the sample rate; pink noise is flat below it
CACHED = 2000  # waveforms that a process remembers


def add_noise(speech: Signal, noise: Signal, snr: Decibels) -> Signal:
    """`speech` plus `noise` (of the same length), scaled so that the mix has this SNR.

    numpy arrays and torch tensors alike. 0 dB is equal power. Raises as `gain_for`.
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


def unit_power(x: np.ndarray) -> np.ndarray:
    """The signal scaled to power 1. Raises ValueError for silence."""
    value = power(x)
    if not 0 < value < float("inf"):
        raise ValueError(f"a signal of {len(x)} samples and power {value:g} cannot be noise")
    return x / value**0.5


def segment(noise: np.ndarray, length: int, offset: int) -> np.ndarray:
    """`length` samples of `noise` from `offset` on; where it ends, it starts over."""
    if len(noise) == 0:
        raise ValueError("the noise is empty")
    return np.take(noise, np.arange(offset, offset + length), mode="wrap")


def make(
    kind: str, length: int, rng: np.random.Generator, voices: Iterable[np.ndarray] = ()
) -> np.ndarray:
    """`length` samples of noise of a kind of `MADE`, power 1.

    `voices`, waveforms of speech, are read only for the kinds of `NEEDS_VOICES`. Raises ValueError
    for another kind, and for voices that are missing, silent or too short.
    """
    if kind == "babble":
        return make_babble(voices, length, rng)
    if kind == "speech_shaped":
        return make_speech_shaped(voices, length, rng)
    return make_coloured(kind, length, rng)


def make_babble(
    waveforms: Iterable[np.ndarray], length: int, rng: np.random.Generator
) -> np.ndarray:
    """The sum of voices at equal power, each from a random place on and repeated; power 1.

    A voice that is silent there adds nothing. Raises ValueError when all are, or there is none.
    """
    babble = np.zeros(length)
    for voice in waveforms:
        piece = segment(np.asarray(voice, dtype=float), length, int(rng.integers(len(voice))))
        babble += piece / max(power(piece) ** 0.5, 1e-6)
    return unit_power(babble)


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


def make_coloured(colour: str, length: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of power 1: `white`, or `pink` (3 dB less an octave, from 20 Hz on)."""
    if colour not in ("white", "pink"):
        raise ValueError(f"there is no noise '{colour}': choose one of {', '.join(MADE)}")
    white = rng.normal(size=length)
    if colour == "white":
        return unit_power(white)
    return _shaped(white, np.maximum(np.fft.rfftfreq(length), LOWEST_PINK) ** -0.5)


def _shaped(white: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    return unit_power(np.fft.irfft(np.fft.rfft(white) * amplitude, n=len(white)))


class Noise:
    """Draws an SNR, and noise that is made on the spot or cut from a file, for each utterance.

    Args:
        kind: one of `MADE`; ignored with `noise_dir`.
        snrs: signal-to-noise ratios in dB; each is equally likely.
        voices: data directory with the speech that babble and speech-shaped noise are made of.
        num_voices: utterances of other speakers in a piece of such noise.
        noise_dir: folder with noise files to use instead of made noise.

    Raises FileNotFoundError for a folder without sound files.
    """

    def __init__(
        self,
        kind: str,
        snrs: list[float],
        voices: datadir.DataDir,
        num_voices: int = 30,
        noise_dir: str | Path | None = None,
    ):
        self.kind, self.snrs, self.num_voices, self.wav = kind, snrs, num_voices, voices.wav
        self.utterances = voices.utterances
        self.speakers = np.array([voices.utt2spk[u] for u in self.utterances])
        self.files = sound_files(noise_dir) if noise_dir else []

    def add(
        self, speech: np.ndarray, speaker: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, Decibels, str]:
        """Noisy speech, its SNR in dB, and where the noise comes from.

        The last is `path@offset` in samples, or the utterances whose voices it is made of, or "-".
        Raises ValueError when it is made of voices and `speaker` is the only speaker.
        """
        snr = float(rng.choice(self.snrs))
        if self.files:
            noise, origin = self._cut(len(speech), rng)
        else:
            noise, origin = self._made(len(speech), speaker, rng)
        return add_noise(speech, noise, snr), snr, origin

    def _cut(self, length: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        path = self.files[rng.integers(len(self.files))]
        track = waveform(str(path))
        offset = int(rng.integers(len(track)))
        return segment(track, length, offset), f"{path}@{offset}"

    def _made(self, length: int, speaker: str, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        chosen = self._others(speaker, rng) if self.kind in NEEDS_VOICES else []
        voices = (waveform(self.wav[u]) for u in chosen)
        return make(self.kind, length, rng, voices), ",".join(chosen) or "-"

    def _others(self, speaker: str, rng: np.random.Generator) -> list[str]:
        """`num_voices` utterances of other speakers, or as many as there are."""
        others = np.flatnonzero(self.speakers != speaker)
        if not len(others):
            raise ValueError(
                f"{self.kind} is made of the speech of others, but {speaker} is the only speaker:"
                " choose pink or white noise, or noise files"
            )
        places = rng.choice(others, min(self.num_voices, len(others)), replace=False)
        return [self.utterances[k] for k in places]


@functools.lru_cache(CACHED)
def waveform(path: str) -> np.ndarray:
    """The sound at a path, (samples,) at 16 kHz; the last ones asked for are remembered."""
    return audio.read(path)


def sound_files(noise_dir: str | Path) -> list[Path]:
    """All sound files in a folder, sorted. Raises FileNotFoundError when there is none."""
    found = sorted(Path(noise_dir).rglob("*"))
    found = [path for path in found if path.suffix.lower() in audio.SOUND_FILES]
    if not found:
        kinds = ", ".join(sorted(audio.SOUND_FILES))
        raise FileNotFoundError(f"{noise_dir} holds no sound file ({kinds})")
    return found

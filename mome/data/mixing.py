"""Noise for the utterances of a training: what it is made of and how loud it is (MoME §4.1).

Each utterance gets an SNR from a list, and either a piece of one of the user's files or noise made
on the spot: babble of other speakers, speech-shaped, pink or white (mome/data/noise.py). Draws come
from the generator that is given, so the same generator makes the same noise.
"""

import functools
from pathlib import Path

import numpy as np

from mome.data import audio, datadir, noise

CACHED = 2000  # waveforms that a process remembers


@functools.lru_cache(CACHED)
def waveform(path: str) -> np.ndarray:
    """The sound at a path, (samples,) at 16 kHz; the last ones asked for are remembered."""
    return audio.read(path)


class Noise:
    """Where the noise of a training comes from.

    Args:
        kind: one of `mome.data.noise.MADE`; not used with `noise_dir`.
        snrs: signal-to-noise ratios in dB, drawn from evenly.
        voices: data directory whose speakers made noise is of.
        num_voices: utterances of other speakers that babble at once.
        noise_dir: a folder with noise files of the user's own, instead of made noise.

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
    ) -> tuple[np.ndarray, float, str]:
        """Noisy speech, its SNR in dB, and what the noise was made of.

        Raises ValueError when there is no other speaker to make noise of.
        """
        snr = float(rng.choice(self.snrs))
        if self.files:
            sound, source = self._from_file(len(speech), rng)
        else:
            sound, source = self._made(len(speech), speaker, rng)
        return noise.add_noise(speech, sound, snr), snr, source

    def _from_file(self, length: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        path = self.files[rng.integers(len(self.files))]
        track = waveform(str(path))
        offset = int(rng.integers(len(track)))
        return noise.segment(track, length, offset), f"{path}@{offset}"

    def _made(self, length: int, speaker: str, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        if self.kind in ("white", "pink"):
            return noise.make_coloured(self.kind, length, rng), "-"
        others = np.flatnonzero(self.speakers != speaker)
        if not len(others):
            raise ValueError(f"{speaker} is the only speaker: no other one's voice for noise")
        places = rng.choice(others, min(self.num_voices, len(others)), replace=False)
        chosen = [self.utterances[k] for k in places]
        make = noise.make_babble if self.kind == "babble" else noise.make_speech_shaped
        return make([waveform(self.wav[u]) for u in chosen], length, rng), ",".join(chosen)


def sound_files(noise_dir: str | Path) -> list[Path]:
    """All sound files in a folder, sorted. Raises FileNotFoundError when there is none."""
    found = sorted(Path(noise_dir).rglob("*"))
    found = [path for path in found if path.suffix.lower() in audio.SOUND_FILES]
    if not found:
        kinds = ", ".join(sorted(audio.SOUND_FILES))
        raise FileNotFoundError(f"{noise_dir} holds no sound file ({kinds})")
    return found

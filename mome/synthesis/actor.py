"""A speaker of the mini corpus: a voice, a face and habits, from a seed; says sentences."""

from dataclasses import dataclass, replace

import numpy as np

from mome.synthesis import face, speech, visemes
from mome.synthesis.speech import SAMPLE_RATE, Speech, Timed, Voice
from mome.synthesis.visemes import FRAME_RATE, SILENCE, Mouth

SAMPLES = SAMPLE_RATE // FRAME_RATE  # in the time of a picture
LEAD_S = 0.12  # of silence before the first phone, and at least as much after the last
LONGEST_S = 4.5  # a clip that would be longer is spoken faster
FASTER = 1.08
MAX_RATE = 280  # words a minute
EFFORT = [Mouth._fields.index("jaw"), Mouth._fields.index("open")]  # what differs by speaker


@dataclass(frozen=True)
class Performance:
    """A clip: waveform, 16-bit at 16 kHz, as long as its pictures; times in seconds from its start.

    `frames` (T, H, W, 3), RGB, 25 a second; `boxes` (T, 4): x, y, width and height of the face as
    fractions of the picture.
    """

    waveform: np.ndarray
    phones: list[Timed]
    words: list[Timed]
    frames: np.ndarray
    boxes: np.ndarray


class Actor:
    """The same seed and set give the same voice and face. Each set has voices of its own."""

    def __init__(self, seed: list[int], set_name: str, index: int):
        rng = np.random.default_rng(seed)
        variants = speech.VOICES[set_name]
        accent = "en-us" if rng.random() < 2 / 3 else "en"
        self.voice = Voice(
            name=f"{accent}+{variants[index % len(variants)]}",
            rate=int(rng.uniform(130, 170)),
            pitch=int(rng.uniform(20, 80)),
            range=int(rng.uniform(35, 65)),
        )
        self.effort = rng.uniform(0.8, 1.15)
        self.face = face.Face(rng.integers(1 << 32))

    def perform(self, sentence: str, seed: list[int]) -> Performance:
        """Say a sentence: the same for the same actor, sentence and seed."""
        rng = np.random.default_rng(seed)
        rate = round(self.voice.rate * rng.uniform(0.95, 1.05))
        said = pad(speak_in_time(sentence, replace(self.voice, rate=rate)))
        num_frames = len(said.waveform) // SAMPLES
        times = [(phone.name, phone.start, phone.end) for phone in said.phones]
        track_TC = visemes.tracks(times, num_frames)
        track_TC[:, EFFORT] *= self.effort
        frames, boxes = self.face.film(track_TC, rng)
        return Performance(said.waveform, said.phones, said.words, frames, boxes)


def speak_in_time(sentence: str, voice: Voice) -> Speech:
    """Say it, faster if need be to end in time."""
    said = speech.say(sentence, voice)
    while said.duration_s > LONGEST_S - 2 * LEAD_S and voice.rate < MAX_RATE:
        voice = replace(voice, rate=min(round(voice.rate * FASTER), MAX_RATE))
        said = speech.say(sentence, voice)
    return said


def pad(said: Speech) -> Speech:
    """Silence before and after, up to a whole number of pictures."""
    lead, tail = round(LEAD_S * SAMPLE_RATE), round(LEAD_S * SAMPLE_RATE)
    tail += -(lead + len(said.waveform) + tail) % SAMPLES
    waveform = np.pad(said.waveform, (lead, tail))
    moved = [Timed(p.name, p.start + LEAD_S, p.end + LEAD_S) for p in said.phones]
    first, last, end = moved[0].start, moved[-1].end, len(waveform) / SAMPLE_RATE
    phones = [Timed(SILENCE, 0.0, first), *moved, Timed(SILENCE, last, end)]
    words = [Timed(w.name, w.start + LEAD_S, w.end + LEAD_S) for w in said.words]
    return Speech(waveform, phones, words)

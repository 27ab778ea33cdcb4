"""A speaker of the mini corpus: a voice, a face and habits from a seed, and how they perform."""

from dataclasses import dataclass, replace

import numpy as np

from mome.data import SAMPLE_RATE, VIDEO_FPS
from mome.synthesis import face, speech, visemes
from mome.synthesis.mouth import Mouth
from mome.synthesis.speech import Speech, Timed, Voice
from mome.synthesis.visemes import SILENCE

IMAGE_SAMPLES = SAMPLE_RATE // VIDEO_FPS  # samples in the time of an image
LEAD_S = 0.12  # silence before the first phone, and at least as much after the last one
LONGEST_S = 4.5  # a clip that would be longer is spoken faster
FASTER = 1.08
MAX_RATE = 280  # words a minute
# Controls of the mouth that a speaker moves more or less than others do.
EFFORT = [Mouth._fields.index("jaw"), Mouth._fields.index("open")]


@dataclass(frozen=True)
class Performance:
    """What a clip is made of.

    Attributes:
        waveform: 16-bit at 16 kHz, as long as the images.
        phones, words: times in seconds from the start of the clip.
        images: (T, H, W, 3), RGB, 25 a second.
        boxes: (T, 4): x, y, width and height of the face, as fractions of the image.
    """

    waveform: np.ndarray
    phones: list[Timed]
    words: list[Timed]
    images: np.ndarray
    boxes: np.ndarray


class Actor:
    """A speaker: the same seed and set give the same voice and face. No two sets share a voice."""

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
        """Say a sentence. The same actor, sentence and seed give the same clip."""
        rng = np.random.default_rng(seed)
        rate = round(self.voice.rate * rng.uniform(0.95, 1.05))
        said = pad(speak_in_time(sentence, replace(self.voice, rate=rate)))
        num_images = len(said.waveform) // IMAGE_SAMPLES
        times = [(phone.name, phone.start, phone.end) for phone in said.phones]
        track_TC = visemes.tracks(times, num_images)
        track_TC[:, EFFORT] *= self.effort
        images, boxes = self.face.film(track_TC, rng)
        return Performance(said.waveform, said.phones, said.words, images, boxes)


def speak_in_time(sentence: str, voice: Voice) -> Speech:
    """Say a sentence, faster when it would last longer than a clip may."""
    said = speech.say(sentence, voice)
    while said.duration_s > LONGEST_S - 2 * LEAD_S and voice.rate < MAX_RATE:
        voice = replace(voice, rate=min(round(voice.rate * FASTER), MAX_RATE))
        said = speech.say(sentence, voice)
    return said


def pad(said: Speech) -> Speech:
    """Add silence before and after, up to a whole number of images."""
    lead, tail = round(LEAD_S * SAMPLE_RATE), round(LEAD_S * SAMPLE_RATE)
    tail += -(lead + len(said.waveform) + tail) % IMAGE_SAMPLES
    waveform = np.pad(said.waveform, (lead, tail))
    moved = [Timed(p.name, p.start + LEAD_S, p.end + LEAD_S) for p in said.phones]
    first, last, end = moved[0].start, moved[-1].end, len(waveform) / SAMPLE_RATE
    phones = [Timed(SILENCE, 0.0, first), *moved, Timed(SILENCE, last, end)]
    words = [Timed(w.name, w.start + LEAD_S, w.end + LEAD_S) for w in said.words]
    return Speech(waveform, phones, words)

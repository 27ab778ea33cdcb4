"""A performance: phones that fill the clip, and sentences that end in time."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import SENTENCE

from mome.data import SAMPLE_RATE, VIDEO_FPS
from mome.synthesis import speech
from mome.synthesis.actor import Actor, speak_in_time


def test_the_sound_is_as_long_as_the_images(performance):
    assert len(performance.images) == len(performance.boxes)
    assert len(performance.waveform) / SAMPLE_RATE == len(performance.images) / VIDEO_FPS


def test_a_performance_repeats_and_differs_by_seed(performance):
    repeated = Actor([1, 0, 0], "train", 0).perform(SENTENCE, [1, 0, 0, 0])
    assert np.array_equal(repeated.images, performance.images)
    assert np.array_equal(repeated.waveform, performance.waveform)
    other = Actor([1, 0, 0], "train", 0).perform(SENTENCE, [1, 0, 0, 1])
    assert not np.array_equal(other.waveform, performance.waveform)


def test_phones_follow_each_other_and_fill_the_clip(performance):
    assert performance.phones[0].start == 0 and performance.phones[-1].end == pytest.approx(
        len(performance.waveform) / SAMPLE_RATE
    )
    assert all(p.start < p.end for p in performance.phones)
    assert all(p.end == pytest.approx(q.start) for p, q in pairwise(performance.phones))
    assert [w.name for w in performance.words] == SENTENCE.split()


def test_long_sentences_are_spoken_in_time():
    voice = speech.Voice("en-us+m3", 100, 50, 50)
    said = speak_in_time(
        "the captain behind the station was beautiful and remembered the bridge", voice
    )
    assert 2 < said.duration_s < 4.5

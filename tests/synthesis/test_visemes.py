"""From phones to mouths: every phone has one, bilabials close the lips, stops have closures."""

from itertools import pairwise

import numpy as np
import pytest

from mome.data import VIDEO_FPS
from mome.synthesis import sentences, speech, visemes
from mome.synthesis.mouth import Mouth

OPEN = Mouth._fields.index("open")


def test_every_word_is_made_of_phones_that_have_a_mouth():
    words = sorted(sentences.vocabulary())
    assert len(words) >= 200
    for accent in ("en-us", "en"):
        for start in range(0, len(words), 55):
            said = speech.say(
                " ".join(words[start : start + 55]), speech.Voice(accent, 160, 50, 50)
            )
            for phone in said.phones:
                for name in visemes.split(phone.name):
                    assert name in {*visemes.VOWELS, *visemes.CONSONANTS, visemes.SILENCE}


def test_a_foreign_phone_is_an_error():
    with pytest.raises(ValueError, match="'ø'"):
        visemes.split("ø")


def test_bilabials_close_the_lips_and_open_vowels_do_not():
    phones = [("_", 0.0, 0.2)]
    for i, name in enumerate(("'A:", "m", "a", "b", "A:", "p", "'a")):
        phones.append((name, 0.2 + 0.16 * i, 0.36 + 0.16 * i))
    for shift in np.linspace(0, 0.04, 5):  # wherever the images fall
        moved = [(name, start + shift, end + shift) for name, start, end in phones]
        track = visemes.tracks(moved, 36)
        parts = visemes.segments(moved)
        for name, start, end in parts:
            near = track[int(start * VIDEO_FPS) : int(np.ceil(end * VIDEO_FPS)) + 1, OPEN]
            if name in visemes.BILABIALS:
                assert near.min() < 0.12
            elif name in "aA":
                assert near.max() > 0.35


def test_a_stop_takes_its_closure_from_the_phone_before():
    parts = visemes.segments([("a", 0.0, 0.2), ("p", 0.2, 0.3), ("aI", 0.3, 0.5)])
    assert [name for name, _, _ in parts] == ["a", "p", "a", "I"]
    assert parts[0][2] == parts[1][1] == pytest.approx(0.145)
    assert all(before[2] == pytest.approx(after[1]) for before, after in pairwise(parts))

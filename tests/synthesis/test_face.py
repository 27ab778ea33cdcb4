"""Drawn speakers: repeatable, different, with boxes around their faces."""

import numpy as np

from mome.synthesis import face, visemes


def test_faces_repeat_and_differ_by_speaker():
    track = np.array([visemes.REST, visemes.VOWELS["A"]])
    one, repeated, other = (face.Face(seed).film(track, 3)[0] for seed in (1, 1, 2))
    assert one.shape == (2, 224, 224, 3) and one.dtype == np.uint8
    assert np.array_equal(one, repeated)
    assert np.abs(one.astype(int) - other).mean() > 10


def test_mouths_of_different_phones_look_different():
    drawn, head = face.Face(1), face.Head(0, 0, 0, 1)
    looks = {}
    for name in ("_", "A", "u", "i", "m", "f", "T", "S", "l", "k"):
        image = drawn.draw(visemes.target(name), 0, head, np.random.default_rng(0))
        looks[name] = image[130:180, 80:144].astype(int)
    for name, image in looks.items():
        for other in looks:
            assert name == other or np.abs(image - looks[other]).mean() > 1, (name, other)


def test_the_box_holds_the_face(performance):
    assert performance.boxes.shape == (len(performance.images), 4)
    x, y, w, h = performance.boxes.T
    assert (x + w / 2 - 0.5 < 0.1).all() and (w > 0.4).all() and (h > 0.6).all()
    assert (x >= 0).all() and (y >= 0).all()

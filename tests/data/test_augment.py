"""Each change of a mouth video does what it says, and nothing else."""

import numpy as np

from mome.data.augment import GREY, mask_time, mirror, random_crop
from mome.encoders import VIDEO_MEAN, normalise

RNG = np.random.default_rng(0)
CLIP = RNG.integers(0, 100, (60, 12, 10), dtype=np.uint8)  # never grey


def test_a_crop_is_one_window_for_the_whole_clip_and_all_windows_come_up():
    seen = set()
    for seed in range(200):
        crop = random_crop(CLIP, 8, np.random.default_rng(seed))
        places = [
            (top, left)
            for top in range(5)
            for left in range(3)
            if np.array_equal(crop, CLIP[:, top : top + 8, left : left + 8])
        ]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) == 15


def test_a_mirror_image_of_a_mirror_image_is_the_clip():
    assert np.array_equal(mirror(CLIP)[:, :, 0], CLIP[:, :, -1])
    assert np.array_equal(mirror(mirror(CLIP)), CLIP)


def test_masks_are_grey_short_enough_and_as_many_as_the_clip_has_seconds():
    grey = []
    for seed in range(300):
        masked = mask_time(CLIP, 0.4, np.random.default_rng(seed))
        is_grey = (masked == GREY).all(axis=(1, 2))
        assert np.array_equal(masked[~is_grey], CLIP[~is_grey])
        starts = np.flatnonzero(np.diff(is_grey.astype(int), prepend=0) == 1)
        assert len(starts) <= 3 and is_grey.sum() <= 3 * 10
        grey.append(is_grey.sum())
    assert 10 < np.mean(grey) < 15  # three of 5 on average, less where they meet
    assert not (CLIP == GREY).any()
    assert np.array_equal(mask_time(CLIP, 0.0, RNG), CLIP)


def test_grey_is_what_the_encoder_sees_as_nothing():
    assert abs(GREY / 255 - VIDEO_MEAN) < 0.5 / 255
    assert abs(normalise(np.full((1, 2, 2), GREY, np.uint8))).max() < 0.02

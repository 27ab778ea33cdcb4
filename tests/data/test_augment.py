"""Each change of a clip does what it says, and nothing else."""

import numpy as np
import pytest

from mome.data.augment import mask_time, mirror, random_crop

RNG = np.random.default_rng(0)
CLIP = RNG.integers(1, 100, (60, 12, 10), dtype=np.uint8)  # never black


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


@pytest.mark.parametrize("rate", [25, 16_000])
def test_masks_are_zero_short_enough_and_as_many_as_the_clip_has_started_seconds(rate):
    clip = CLIP if rate == 25 else RNG.uniform(0.1, 1.0, 12 * rate // 5)  # 2.4 s: three masks
    longest, shares = round(0.4 * rate), []
    for seed in range(300):
        masked = mask_time(clip, rate, 0.4, np.random.default_rng(seed))
        is_masked = (masked == 0).reshape(len(clip), -1).all(axis=1)
        assert np.array_equal(masked[~is_masked], clip[~is_masked])
        edges = np.flatnonzero(np.diff(is_masked.astype(int), prepend=0, append=0))
        assert len(edges) <= 2 * 3 and is_masked.sum() <= 3 * longest
        shares.append(is_masked.sum() / rate)
    assert 0.4 < np.mean(shares) < 0.6  # three of 0.2 s on average, less where they meet
    assert max(shares) > 0.8 and clip.all(), "the clip itself stays as it is"


def test_no_masks_change_nothing_and_a_short_clip_may_be_masked_whole():
    assert np.array_equal(mask_time(CLIP, 25, 0.0, RNG), CLIP)
    masked = [mask_time(CLIP[:3], 25, 0.4, np.random.default_rng(seed)) for seed in range(40)]
    assert all(x.shape == (3, 12, 10) for x in masked) and any(not x.any() for x in masked)

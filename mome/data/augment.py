"""Random changes of a mouth video before its encoder, new ones each time (MoME A.3).

A crop at a random place, a mirror image for half of the clips, and masks in time. Decoding and
stored features use the centre crop alone.

Shape key
    T  images, 25 a second    H, W  pixels
"""

import numpy as np

from mome.data import VIDEO_FPS

GREY = 107  # what AV-HuBERT's normalisation maps to 0


def random_crop(mouth_THW: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(T, H, W) -> (T, size, size), at one place for the whole clip."""
    top, left = (int(rng.integers(n - size + 1)) for n in mouth_THW.shape[1:])
    return mouth_THW[:, top : top + size, left : left + size]


def mirror(mouth_THW: np.ndarray) -> np.ndarray:
    """Exchange left and right."""
    return mouth_THW[:, :, ::-1]


def mask_time(mouth_THW: np.ndarray, longest_s: float, rng: np.random.Generator) -> np.ndarray:
    """A copy with one grey piece for each second or part of one, 0 to `longest_s` seconds long.

    Adaptive as in Ma et al. (2022): longer clips get more masks, not longer ones.
    """
    masked, T = mouth_THW.copy(), len(mouth_THW)
    for _ in range(-(-T // VIDEO_FPS)):
        length = min(int(rng.integers(round(longest_s * VIDEO_FPS) + 1)), T)
        start = int(rng.integers(T - length + 1))
        masked[start : start + length] = GREY
    return masked

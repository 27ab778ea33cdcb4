"""What training does to a mouth video before its encoder, anew each time (MoME §4.1).

A crop at a random place, a mirror image for half of the clips, and masks in time. Decoding and
features on disk see the centre crop alone.

Shape key
    T  pictures, 25 a second    H, W  pixels
"""

import numpy as np

GREY = 107  # what AV-HuBERT's normalisation maps to 0
SECOND = 25  # pictures


def random_crop(mouth_THW: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(T, H, W) -> (T, size, size), at one place for the whole clip."""
    top, left = (int(rng.integers(n - size + 1)) for n in mouth_THW.shape[1:])
    return mouth_THW[:, top : top + size, left : left + size]


def mirror(mouth_THW: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    return mouth_THW[:, :, ::-1]


def mask_time(mouth_THW: np.ndarray, longest_s: float, rng: np.random.Generator) -> np.ndarray:
    """Grey out one piece for each begun second, of 0 to `longest_s` seconds; a copy.

    Adaptive as in Ma et al. (2022): longer clips get more masks, not longer ones.
    """
    masked, T = mouth_THW.copy(), len(mouth_THW)
    for _ in range(-(-T // SECOND)):
        length = min(int(rng.integers(round(longest_s * SECOND) + 1)), T)
        start = int(rng.integers(T - length + 1))
        masked[start : start + length] = GREY
    return masked

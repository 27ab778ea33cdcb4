"""Random changes of a clip before its encoders, new ones each time (MoME A.3).

The mouth is cropped at a random place and mirrored for half of the clips; sound and video get masks
in time. Decoding and stored features use the centre crop alone.

Shape key
    T  images, 25 a second    H, W  pixels
"""

import numpy as np


def random_crop(mouth_THW: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(T, H, W) -> (T, size, size), at one place for the whole clip."""
    top, left = (int(rng.integers(n - size + 1)) for n in mouth_THW.shape[1:])
    return mouth_THW[:, top : top + size, left : left + size]


def mirror(mouth_THW: np.ndarray) -> np.ndarray:
    """Exchange left and right."""
    return mouth_THW[:, :, ::-1]


def mask_time(
    clip: np.ndarray, rate: int, longest_s: float, rng: np.random.Generator
) -> np.ndarray:
    """A copy with a piece of zeros for each started second, 0 to `longest_s` seconds long each.

    Adaptive as in Ma et al. (2022): longer clips get more masks, not longer ones. As in their code,
    a masked image is black, and masked sound is silence to which noise may still be added.

    Args:
        clip: images (T, H, W) or samples (S,).
        rate: images or samples in a second.
        longest_s: longest mask, in seconds.
        rng: of the lengths and places.
    """
    masked, size = clip.copy(), len(clip)
    for _ in range(-(-size // rate)):
        length = min(int(rng.integers(round(longest_s * rate) + 1)), size)
        start = int(rng.integers(size - length + 1))
        masked[start : start + length] = 0
    return masked

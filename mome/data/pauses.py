"""Where to cut a long recording: pieces as long as a model was trained for, cut at pauses.

Speech is told from pauses by its level alone: the power of each 40 ms, in dB. A level counts as
speech when it lies a quarter of the way from the quiet to the loud parts of the recording, but at
most 35 dB below the loud ones. Where loud and quiet differ by less than 15 dB (music, noise),
nothing is a pause, and pieces are cut where the level is lowest.

Shape key: T moments of 40 ms, 25 a second, as the frames of a video.
"""

import numpy as np

from mome.data import SAMPLE_RATE, VIDEO_FPS

MOMENT = SAMPLE_RATE // VIDEO_FPS  # samples
LOWEST = -100.0  # dB, of digital silence
CONTRAST = 15.0  # dB between loud and quiet, below which nothing is a pause
DEEPEST = 35.0  # dB below the loud parts: anything quieter is a pause
SHARE = 0.25  # of the way from quiet to loud, where speech begins
MARGIN = 5  # moments that are kept before and after speech
LONG_PAUSE = 25  # moments; a longer pause is in no piece
SMOOTHING = 7  # moments, of the level when a piece is cut


def levels(samples: np.ndarray) -> np.ndarray:
    """The level of each moment, (T,) in dB of full scale; the last moment may be shorter."""
    num = -(-len(samples) // MOMENT)
    power = np.zeros(num)
    squares = np.square(samples, dtype=np.float32)
    whole = len(samples) // MOMENT
    power[:whole] = squares[: whole * MOMENT].reshape(whole, MOMENT).mean(axis=1)
    if whole < num:
        power[whole:] = squares[whole * MOMENT :].mean()
    return 10 * np.log10(np.maximum(power, 10 ** (LOWEST / 10)))


def is_speech(level_T: np.ndarray) -> np.ndarray:
    """Which moments are speech or lie within MARGIN of it, (T,) bool."""
    loud, quiet = np.percentile(level_T, 95), np.percentile(level_T, 5)
    if loud <= LOWEST:
        return np.zeros(len(level_T), dtype=bool)
    if loud - quiet < CONTRAST:
        return np.ones(len(level_T), dtype=bool)
    above = level_T > max(quiet + SHARE * (loud - quiet), loud - DEEPEST)
    return np.convolve(above, np.ones(2 * MARGIN + 1), "same") > 0.5


def cut(level_T: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Pieces (first moment, end) of a recording, in order; each has at most `most` moments.

    A recording that is no longer than `most` is one piece, pauses included. Else pauses longer than
    LONG_PAUSE are in no piece, and longer stretches of speech are cut, where their level is lowest,
    into pieces of `most` / 2 to `most` moments; the last one may be shorter.
    """
    if len(level_T) <= most:
        return [(0, len(level_T))]
    return [
        piece
        for first, end in stretches(is_speech(level_T), LONG_PAUSE)
        for piece in divide(level_T, first, end, most)
    ]


def divide(level_T: np.ndarray, first: int, end: int, most: int) -> list[tuple[int, int]]:
    """Cut a stretch where the level is lowest, until no part of it has more than `most` moments."""
    parts = []
    while end - first > most:
        place = first + lowest(level_T[first : first + most])
        parts.append((first, place))
        first = place
    return [*parts, (first, end)]


def lowest(level_T: np.ndarray) -> int:
    """The moment of the second half with the lowest smoothed level; the last of several."""
    half = SMOOTHING // 2
    smooth = np.convolve(np.pad(level_T, half, mode="edge"), np.ones(SMOOTHING), "valid")
    second = smooth[len(level_T) // 2 :]
    return len(level_T) - 1 - int(second[::-1].argmin())


def stretches(present_T: np.ndarray, most_apart: int) -> list[tuple[int, int]]:
    """Runs (first, end) of True in a bool array; runs at most `most_apart` apart are joined."""
    found: list[tuple[int, int]] = []
    for t in np.flatnonzero(present_T).tolist():
        if found and t - found[-1][1] <= most_apart:
            found[-1] = (found[-1][0], t + 1)
        else:
            found.append((t, t + 1))
    return found

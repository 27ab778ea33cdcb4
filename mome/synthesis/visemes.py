"""Visemes: how the mouth moves for a sequence of phones.

Each phone has a strength and, for each control of the mouth, a target. At every moment, a control
is the mean of all targets, weighted by strengths that decrease with the distance in time (dominance
functions; Cohen and Massaro 1993). So a weak /k/ looks like its neighbours, and a /w/ changes how
they look. One thing is exact and not blended: the lips meet in every bilabial. eSpeak's time of a
stop is that of its burst; the closure comes before it, so it is taken from the phone before.

Shape key
    T  images    M  moments, `OVERSAMPLING` for each image    C  controls of the mouth
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from mome.data import VIDEO_FPS
from mome.synthesis.mouth import Mouth

OVERSAMPLING = 8  # moments in the time of an image
CLOSURE_S = 0.055  # of a stop, at most
CLOSED_S = 0.045  # about half of the time that the lips stay closed
FALL_S = 0.035  # how fast a phone's influence fades
SILENCE = "_"

REST = Mouth(jaw=0.03, press=0.15)

VOWELS = {
    "i": Mouth(0.12, 0.24, 0.85, upper=0.7, lower=0.35, back=0.2),
    "I": Mouth(0.2, 0.32, 0.5, upper=0.6, lower=0.2),
    "e": Mouth(0.3, 0.42, 0.6, upper=0.65, lower=0.2, back=0.1),
    "E": Mouth(0.44, 0.55, 0.4, upper=0.6, lower=0.15),
    "a": Mouth(0.75, 0.88, 0.35, upper=0.55, lower=0.3, tip=0.15),
    "A": Mouth(0.95, 1.0, upper=0.3, lower=0.2, tip=0.1),
    "0": Mouth(0.85, 0.9, -0.2, 0.2, upper=0.25, tip=0.05),
    "O": Mouth(0.6, 0.62, -0.6, 0.65, upper=0.1),
    "V": Mouth(0.55, 0.62, 0.1, upper=0.4),
    "@": Mouth(0.3, 0.36, 0.05, upper=0.4),
    "3": Mouth(0.28, 0.36, -0.4, 0.5, upper=0.45, back=0.4),
    "U": Mouth(0.25, 0.26, -0.65, 0.7),
    "u": Mouth(0.14, 0.14, -1.0, 1.0),
    "o": Mouth(0.42, 0.42, -0.8, 0.85),
}

CONSONANTS = {  # the lips are pressed hardest for /p/, least for /m/
    "p": Mouth(0.04, press=1.0),
    "b": Mouth(0.06, press=0.75),
    "m": Mouth(0.08, press=0.5),
    "f": Mouth(0.08, 0.08, 0.25, tuck=1.0, upper=0.9),
    "v": Mouth(0.1, 0.11, 0.2, tuck=0.85, upper=0.8),
    "T": Mouth(0.15, 0.27, 0.15, upper=0.7, tip=1.0),
    "D": Mouth(0.18, 0.27, 0.15, upper=0.6, tip=0.92),
    "s": Mouth(0.02, 0.2, 0.5, upper=1.0, lower=1.0),
    "z": Mouth(0.03, 0.22, 0.45, upper=1.0, lower=0.9),
    "S": Mouth(0.06, 0.32, -0.6, 0.9, upper=1.0, lower=0.9),
    "Z": Mouth(0.07, 0.32, -0.55, 0.85, upper=1.0, lower=0.8),
    "tS": Mouth(0.05, 0.28, -0.55, 0.9, upper=1.0, lower=0.9),
    "dZ": Mouth(0.06, 0.28, -0.5, 0.85, upper=1.0, lower=0.8),
    "t": Mouth(0.12, 0.27, 0.2, upper=0.5, lower=0.15, tip=0.5),
    "d": Mouth(0.15, 0.29, 0.2, upper=0.45, lower=0.1, tip=0.54),
    "n": Mouth(0.18, 0.31, 0.2, upper=0.4, tip=0.58),
    "l": Mouth(0.3, 0.4, 0.1, upper=0.55, tip=0.8),
    "k": Mouth(0.28, 0.36, upper=0.3, back=0.9),
    "g": Mouth(0.28, 0.36, upper=0.3, back=0.85),
    "N": Mouth(0.26, 0.35, upper=0.25, back=1.0),
    "h": Mouth(0.3, 0.36, upper=0.3),
    "r": Mouth(0.18, 0.24, -0.6, 0.75, upper=0.5, lower=0.1, back=0.3),
    "w": Mouth(0.08, 0.07, -1.0, 1.0),
    "j": Mouth(0.1, 0.22, 0.7, upper=0.65, lower=0.35, back=0.4),
}

# How strongly a phone acts on its neighbours; a vowel has 1.
STRENGTHS = (
    dict.fromkeys("pbm", 5.0)
    | dict.fromkeys("fv", 8.0)
    | dict.fromkeys(("S", "Z", "tS", "dZ", "w"), 6.0)
    | {"T": 5.0, "D": 4.0, "s": 4.0, "z": 4.0, "r": 3.0, "l": 2.5}
    | dict.fromkeys("tdnj", 1.7)
    | {"k": 1.0, "g": 1.0, "N": 1.0, "h": 0.2, "@": 0.4}
)
BILABIALS = frozenset("pbm")
STOPS = frozenset(("p", "b", "t", "d", "k", "g", "tS", "dZ"))
ROUNDED = frozenset(("w", "r", "S", "Z", "tS", "dZ"))
LIP_SHAPE = [Mouth._fields.index(name) for name in ("wide", "round")]

# eSpeak's mnemonics that differ from our names in more than marks of stress and length.
OTHERS = {
    "L": "l", "l-": "l", "n-": "n", "m-": "m", "r-": "r", "t2": "d", "*": "d", "?": "h", "x": "k",
    "R": "r", "tr": "t", "aa": "a", "a#": "@", ";": "j", "@L": "@ l",
    "eI": "e I", "aI": "a I", "OI": "O I", "aU": "a U", "oU": "o U", "i@": "I @", "e@": "E @",
    "U@": "U @", "A@": "A 3", "O@": "O 3", "o@": "O 3", "aI@": "a I @",
    "aI3": "a I 3", "aU@": "a U @",
    "i@3": "I 3", "U@3": "U 3",
}  # fmt: skip


def split(mnemonic: str) -> list[str]:
    """Our names of the phones in a mnemonic of eSpeak: `eI` -> e, I; `3:` -> 3; a pause -> `_`.

    Raises ValueError for a phone that is not English.
    """
    name = mnemonic.lstrip("',%=")
    if not name or name.startswith("_"):
        return [SILENCE]
    bare = name.rstrip("#:2345~-") or name
    for known in (name, bare):
        if known in OTHERS:
            return OTHERS[known].split()
        if known in VOWELS or known in CONSONANTS:
            return [known]
    for length in (2, 1):
        if bare[:length] in VOWELS or bare[:length] in CONSONANTS:
            return [bare[:length]]
    raise ValueError(f"phone '{mnemonic}' is not one of eSpeak's English phones")


def segments(phones: Iterable[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Turn eSpeak's phones (mnemonic, start, end) into ours; times in seconds, without gaps.

    A diphthong becomes two phones. The closure of a stop is taken from the phone before it.
    """
    parts: list[list] = []
    for mnemonic, start, end in phones:
        names = split(mnemonic)
        step = (end - start) / len(names)
        parts += [[n, start + i * step, start + (i + 1) * step] for i, n in enumerate(names)]
    for before, part in pairwise(parts):
        if part[0] in STOPS:
            room = part[1] - before[1]
            part[1] -= min(CLOSURE_S, 0.5 * room)
            before[2] = part[1]
    return [(name, start, end) for name, start, end in parts]


def tracks(phones: Iterable[tuple[str, float, float]], num_images: int) -> np.ndarray:
    """The mouth in each image of a clip, 25 a second: (T, C), columns as in `Mouth`.

    Each row is the mean over half of the image's time, like the exposure of a camera.
    """
    parts = segments(phones)
    times_M = (np.arange(num_images * OVERSAMPLING) + 0.5) / (VIDEO_FPS * OVERSAMPLING)
    faint = 1e-3
    total_MC = np.full((len(times_M), len(REST)), faint) * np.array(REST)
    weight_MC = np.full((len(times_M), len(REST)), faint)
    for name, start, end in parts:
        pull_MC = dominance(name, start, end, times_M)[:, None] * control_weights(name)
        total_MC += pull_MC * np.array(target(name))
        weight_MC += pull_MC
    track_MC = total_MC / weight_MC
    for name, start, end in parts:
        if name in BILABIALS:
            close(track_MC, target(name).press, start, end, times_M)
    track_TMC = track_MC.reshape(num_images, OVERSAMPLING, -1)
    return track_TMC[:, OVERSAMPLING // 4 : 3 * OVERSAMPLING // 4].mean(axis=1)


def target(name: str) -> Mouth:
    """The mouth of a phone; at rest for silence."""
    return VOWELS.get(name) or CONSONANTS.get(name) or REST


def hold(name: str, start: float, end: float) -> tuple[float, float]:
    """Middle and length of the time in which a phone reaches its target; of a stop, its closure."""
    length = max(end - start, 0.02)
    if name in STOPS:
        length = min(length, 0.07)
    return start + length / 2, length


def dominance(name: str, start: float, end: float, times_M: np.ndarray) -> np.ndarray:
    """Weight (M,) of a phone's target at each moment."""
    middle, length = hold(name, start, end)
    away_M = np.maximum(np.abs(times_M - middle) - 0.25 * length, 0.0)
    return STRENGTHS.get(name, 1.0) * np.exp(-1.6 * away_M / (FALL_S + 0.25 * length))


def control_weights(name: str) -> np.ndarray:
    """Weight (C,) of each control: most consonants hardly act on width and rounding of the lips."""
    weights_C = np.ones(len(REST))
    if name in CONSONANTS and name not in ROUNDED:
        weights_C[LIP_SHAPE] = 0.15 if name in "pbmfv" else 0.35
    return weights_C


def close(
    track_MC: np.ndarray, press: float, start: float, end: float, times_M: np.ndarray
) -> None:
    """Shut the lips during a bilabial, in place, whatever its neighbours are."""
    middle, _ = hold("p", start, end)
    shut_M = np.exp(-(((times_M - middle) / CLOSED_S) ** 4))
    opening, pressing = Mouth._fields.index("open"), Mouth._fields.index("press")
    track_MC[:, opening] *= 1 - shut_M
    track_MC[:, pressing] = np.maximum(track_MC[:, pressing], shut_M * press)

"""Cutting a recording: pieces are short enough, cuts lie in pauses, all speech is in a piece."""

import numpy as np
import pytest

from mome.data import SAMPLE_RATE, pauses

RNG = np.random.default_rng(0)


def sound(*parts: tuple[float, float], floor: float = 1e-4) -> np.ndarray:
    """Noise of (seconds, amplitude) one after the other, over a quiet floor."""
    pieces = [
        RNG.standard_normal(int(seconds * SAMPLE_RATE)) * amplitude for seconds, amplitude in parts
    ]
    whole = np.concatenate(pieces)
    return (whole + RNG.standard_normal(len(whole)) * floor).astype(np.float32)


def test_levels_are_decibels_of_each_moment():
    samples = np.concatenate([np.full(pauses.MOMENT, 0.1), np.zeros(pauses.MOMENT), np.ones(10)])
    np.testing.assert_allclose(pauses.levels(samples), [-20, pauses.LOWEST, 0], atol=1e-4)


def test_a_short_recording_is_one_piece_with_its_pauses():
    samples = sound((1, 0), (1, 0.1), (1, 0))
    assert pauses.cut(pauses.levels(samples), 75) == [(0, 75)]


def test_long_pauses_are_in_no_piece_and_speech_is_in_one():
    samples = sound((2, 0), (3, 0.1), (4, 0), (3, 0.1), (2, 0))
    pieces = pauses.cut(pauses.levels(samples), 100)
    assert pieces == [
        (50 - pauses.MARGIN, 125 + pauses.MARGIN),
        (225 - pauses.MARGIN, 300 + pauses.MARGIN),
    ]


def test_a_stretch_that_is_too_long_is_cut_in_its_short_pauses():
    samples = sound((3, 0.1), (0.4, 0), (3, 0.1), (0.4, 0), (3, 0.1))
    pieces = pauses.cut(pauses.levels(samples), 100)
    cuts = [end for _, end in pieces[:-1]]
    assert len(pieces) == 3 and 75 <= cuts[0] <= 85 and 160 <= cuts[1] <= 170


@pytest.mark.parametrize("most", [25, 60, 137])
@pytest.mark.parametrize("floor", [1e-5, 0.05])  # clean, and in noise almost as loud
def test_pieces_are_in_order_do_not_overlap_and_are_short_enough(most, floor):
    parts = [
        (float(s), float(a))
        for s, a in zip(RNG.uniform(0.1, 4, 20), RNG.uniform(0, 0.3, 20), strict=True)
    ]
    level = pauses.levels(sound(*parts, floor=floor))
    pieces = pauses.cut(level, most)
    edges = [edge for piece in pieces for edge in piece]
    assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= len(level)
    assert all(0 < end - first <= most for first, end in pieces)
    inside = np.zeros(len(level), bool)
    for first, end in pieces:
        inside[first:end] = True
    assert inside[pauses.is_speech(level)].all()


def test_noise_without_contrast_is_kept_and_silence_is_not():
    assert pauses.is_speech(pauses.levels(sound((5, 0.1)))).all()
    assert not pauses.is_speech(np.full(100, pauses.LOWEST)).any()
    assert pauses.cut(np.full(100, pauses.LOWEST), 50) == []


def test_stretches_join_what_is_near():
    present = np.array([0, 1, 1, 0, 0, 1, 0, 0, 0, 1], bool)
    assert pauses.stretches(present, 0) == [(1, 3), (5, 6), (9, 10)]
    assert pauses.stretches(present, 2) == [(1, 6), (9, 10)]

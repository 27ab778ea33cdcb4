"""Pieces of a recording: sound and mouth of the same moments, each once, with little in memory."""

from pathlib import Path

import numpy as np
import pytest

from mome.data import SAMPLE_RATE, VIDEO_FPS, recording
from mome.data.recording import MOST_APART, Crops, Recording


class Face:
    """A face whose crop in image t is the number t % 251 in every pixel."""

    num_faces, lost = 1, ""

    def __init__(self, num_images: int, away: range = range(0)):
        self.num_images = num_images
        self.present = np.ones(num_images, bool)
        self.present[away] = False

    def crops(self):
        for first in range(0, self.num_images, 16):
            times = np.arange(first, min(first + 16, self.num_images))
            yield np.broadcast_to(times[:, None, None] % 251, (len(times), 96, 96)).astype(np.uint8)


def speech(*seconds: float) -> np.ndarray:
    """Noise and pauses in turn."""
    rng = np.random.default_rng(0)
    parts = [
        rng.standard_normal(int(s * SAMPLE_RATE)) * (0.1 if k % 2 == 0 else 1e-5)
        for k, s in enumerate(seconds)
    ]
    return np.concatenate(parts).astype(np.float32)


def opened(sound, face) -> Recording:
    num = -(-len(sound) // 640) if sound is not None else face.num_images
    return Recording(Path("x.mp4"), num, sound, face)


def check(piece, num_images: int) -> None:
    """The mouth of a piece shows the images of its moments."""
    first, end = round(piece.start * VIDEO_FPS), round(piece.end * VIDEO_FPS)
    expected = np.minimum(np.arange(first, end), num_images - 1) % 251
    n = min(len(piece.mouth), len(expected))
    assert abs(len(piece.mouth) - len(expected)) <= MOST_APART
    assert (piece.mouth[:n, 5, 5] == expected[:n]).all()


@pytest.mark.parametrize("more_images", [-2, 0, 2, -40])
def test_sound_and_mouth_of_a_piece_are_of_the_same_moments(more_images):
    sound = speech(2, 1.5, 3, 0.2, 2.5, 3, 1)
    num_images = round(len(sound) / 640) + more_images
    pieces = list(opened(sound, Face(num_images)).pieces(3.0))
    assert len(pieces) >= 4
    for piece in pieces:
        first = round(piece.start * SAMPLE_RATE)
        assert np.array_equal(piece.sound, sound[first : first + len(piece.sound)])
        if piece.mouth is not None:
            check(piece, num_images)
    if more_images == -40:  # the video has ended before the last piece
        assert pieces[-1].mouth is None


def test_a_piece_without_the_face_has_no_mouth():
    sound = speech(2, 1.5, 2, 1.5, 2)
    pieces = list(opened(sound, Face(225, away=range(80, 150))).pieces(2.5))
    assert [piece.mouth is None for piece in pieces] == [False, True, False]


def test_without_sound_every_image_with_the_face_is_in_one_piece():
    pieces = list(opened(None, Face(1000, away=range(400, 500))).pieces(4.0))
    for piece in pieces:
        check(piece, 1000)
    times = np.concatenate([np.arange(round(p.start * 25), round(p.end * 25)) for p in pieces])
    assert np.array_equal(times, np.flatnonzero(Face(1000, away=range(400, 500)).present))
    assert max(len(piece.mouth) for piece in pieces) <= 100


@pytest.mark.parametrize("sound", [speech(*[3, 1.2] * 100), None])
def test_memory_does_not_grow_with_the_length_of_the_video(sound, monkeypatch):
    kept = []
    take = Crops.take
    monkeypatch.setattr(
        Crops, "take", lambda self, *a: (kept.append(len(self.buffer)), take(self, *a))[1]
    )
    assert len(list(opened(sound, Face(10_000)).pieces(4.0))) >= 90
    assert max(kept) <= 100 + 16


def test_a_file_that_is_no_recording_is_named(tmp_path, refused):
    with refused("no file", r"x\.mp4 does not exist", FileNotFoundError):
        recording.kinds_of(tmp_path / "x.mp4")
    (tmp_path / "x.mp4").write_bytes(b"no")
    with refused("two bytes", r"x\.mp4 is no recording that can be read"):
        recording.kinds_of(tmp_path / "x.mp4")

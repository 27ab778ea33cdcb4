"""Mouth crops on disk: small, nearly the same when read back, and never half there."""

import contextlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mome.data import crops, landmarks, mouths
from mome.synthesis import movie

SILENCE = np.zeros(1920, np.int16)


def test_mouths_are_stored_small_and_read_back_nearly_the_same(talking_faces, tmp_path):
    mouth = mouths.crop_mouth(talking_faces[0], mouths.fill_in(landmarks.find(talking_faces[0])))
    crops.write(tmp_path / "s1" / "x.mp4", mouth)
    back = crops.read(tmp_path / "s1" / "x.mp4")
    assert back.shape == mouth.shape and back.dtype == np.uint8
    assert np.abs(back.astype(int) - mouth).mean() < 1.5
    assert np.array_equal(crops.as_stored(mouth), back)
    assert (tmp_path / "s1" / "x.mp4").stat().st_size < mouth.size / 5
    assert [p.name for p in (tmp_path / "s1").iterdir()] == ["x.mp4"]


def test_storage_keeps_black_white_and_contrast(tmp_path):
    levels = np.repeat(np.linspace(0, 255, 12).astype(np.uint8), 8)
    mouth = np.broadcast_to(levels, (3, 96, 96))
    crops.write(tmp_path / "x.mp4", mouth)
    back = crops.read(tmp_path / "x.mp4").astype(int)
    assert np.abs(back - mouth)[:, :, 3::8].max() <= 4


def test_the_same_mouth_gives_the_same_bytes(tmp_path):
    mouth = np.random.default_rng(0).integers(0, 255, (20, 96, 96), dtype=np.uint8)
    mouth = np.stack([cv2.GaussianBlur(m, (0, 0), 3) for m in mouth])
    stored = set()
    for _ in range(6):
        crops.write(tmp_path / "x.mp4", mouth)
        stored.add((tmp_path / "x.mp4").read_bytes())
    assert len(stored) == 1


def test_a_mouth_file_that_is_incomplete_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="run stage 1"):
        crops.read(tmp_path / "x.mp4")
    crops.write(tmp_path / "x.mp4", np.zeros((20, 96, 96), np.uint8))
    whole = (tmp_path / "x.mp4").read_bytes()
    for cut in (0, 100, len(whole) // 2):
        (tmp_path / "x.mp4").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"x\.mp4 is not a complete file of .*: delete"):
            crops.read(tmp_path / "x.mp4")
    movie.write(tmp_path / "y.mp4", np.zeros((3, 32, 48, 3), np.uint8), 25, SILENCE, 16000)
    with pytest.raises(ValueError, match=r"y\.mp4 is not a complete file"):
        crops.read(tmp_path / "y.mp4")


def test_a_full_disk_leaves_the_old_mouths(tmp_path, monkeypatch):
    crops.write(tmp_path / "x.mp4", np.zeros((20, 96, 96), np.uint8))
    before = (tmp_path / "x.mp4").read_bytes()

    @contextlib.contextmanager
    def full(path, mode, format):
        Path(path).write_bytes(b"half a file")
        raise av.error.OSError(28, "No space left on device")
        yield

    monkeypatch.setattr(av, "open", full)
    with pytest.raises(OSError, match="No space left"):
        crops.write(tmp_path / "x.mp4", np.ones((20, 96, 96), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["x.mp4"]
    assert (tmp_path / "x.mp4").read_bytes() == before

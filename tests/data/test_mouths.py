"""Mouth crops of clips and data directories. tests/bin/test_crop_mouths.py runs the command."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mome import files
from mome.data import datadir, mouths
from mome.synthesis import movie

TIME_NS = 1_700_000_000_123_456_789


def write_clip(path: Path, images: np.ndarray) -> Path:
    movie.write(path, images, 25, np.zeros(16000, np.int16), 16000)
    return path


def test_a_clip_without_a_face_has_no_mouths(tmp_path):
    path = write_clip(tmp_path / "x.mp4", np.full((3, 96, 96, 3), 128, np.uint8))
    with pytest.raises(ValueError, match=r"x\.mp4: a face was found in 0 of 3 images"):
        mouths.mouths_of(path)


def test_the_fixed_box_holds_the_mouth_too(talking_faces, tmp_path):
    path = write_clip(tmp_path / "x.mp4", talking_faces[0])
    mouth, num_found = mouths.mouths_of(path, "centre")
    assert mouth.shape == (12, 96, 96) and num_found == 12
    change = cv2.absdiff(mouth[5], mouth[1]).astype(float) ** 2
    y, x = np.average(np.mgrid[0:96, 0:96].reshape(2, -1), axis=1, weights=change.ravel())
    assert abs(x - 48) < 15 and 40 < y < 85


@pytest.mark.parametrize("limits", [{}, {"max_skipped": 1.0, "max_skipped_test": 1.0}])
def test_the_stamp_is_the_marks_and_does_not_change(tmp_path, monkeypatch, limits):
    """Crops made by earlier versions stay valid only as long as this literal holds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mouths, "crop_clip", lambda *job: {"num_frames": 1, "num_found": 1})
    for name, content in (("a", b"12345"), ("b", b"1234567")):
        Path(f"{name}.mp4").write_bytes(content)
        os.utime(f"{name}.mp4", ns=(TIME_NS, TIME_NS))
    video = {"s0-a": "a.mp4", "s0-b-00": "b.mp4[0:249]"}
    speakers, seconds = dict.fromkeys(video, "s0"), dict.fromkeys(video, 1.0)
    datadir.write("data/test", datadir.DataDir(video, video, video, speakers, seconds))
    mouths.crop_set(Path("data/test"), Path("out"), "centre", **limits)
    assert json.loads(Path("out", files.STAMP).read_text()) == {
        "s0-a": f"5 {TIME_NS} centre 3",
        "s0-b-00": f"7 {TIME_NS} centre 3 0 249",
    }

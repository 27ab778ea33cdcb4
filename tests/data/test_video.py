"""Images of media files, and mouth crops."""

import contextlib
import logging
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mome.data import landmarks, mouths, video


def write_video(path: Path, images: np.ndarray, times_ms: list[float]) -> None:
    """Images (T, H, W), grey, or (T, H, W, 3) at the given times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10", "bf": "0"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for time, image in zip(times_ms, images, strict=True):
            form = "gray" if image.ndim == 2 else "rgb24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=form)
            frame.pts, frame.time_base = round(time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def numbered(num: int) -> np.ndarray:
    """Images whose grey level is 5 x their number."""
    return np.full((num, 32, 48), 5, np.uint8) * np.arange(num, dtype=np.uint8)[:, None, None]


def numbers(images: np.ndarray) -> list[int]:
    return np.round(images.reshape(len(images), -1).mean(axis=1) / 5).astype(int).tolist()


@pytest.mark.parametrize(
    "every_ms, shown", [(40, range(10)), (20, [0, 2, 4, 6, 8]), (80, np.repeat(range(10), 2))]
)
def test_images_come_at_25_a_second(tmp_path, every_ms, shown):
    write_video(tmp_path / "x.mp4", numbered(10), [k * every_ms for k in range(10)])
    images = video.read_images(tmp_path / "x.mp4")
    assert images.dtype == np.uint8 and images.shape[1:] == (32, 48, 3)
    assert numbers(images) == list(shown)
    assert video.count_images(tmp_path / "x.mp4") == len(shown)
    assert numbers(video.read_images(tmp_path / "x.mp4", "gray")) == list(shown)


def test_30_frames_a_second_become_25_and_the_log_says_so(tmp_path, caplog):
    write_video(tmp_path / "x.mp4", numbered(30), [k * 1000 / 30 for k in range(30)])
    video.log_resampled.cache_clear()
    with caplog.at_level(logging.INFO):
        shown = numbers(video.read_images(tmp_path / "x.mp4"))
    assert len(shown) == 25 and shown[0] == 0 and shown[-1] == 28
    assert set(np.diff(shown)) == {1, 2}
    assert "is resampled to 25" in caplog.text


def test_during_a_gap_the_last_image_is_shown(tmp_path):
    write_video(tmp_path / "x.mp4", numbered(4), [0, 40, 160, 200])
    assert numbers(video.read_images(tmp_path / "x.mp4"))[:6] == [0, 1, 1, 1, 2, 3]


def test_late_starts_and_rounded_times_are_25_a_second(tmp_path):
    assert video.at_25_fps(np.array([1.004, 1.041, 1.083, 1.12])) is None


def test_large_images_are_shrunk(tmp_path):
    write_video(tmp_path / "x.mp4", np.zeros((1, 200, 2000), np.uint8), [0])
    assert video.read_images(tmp_path / "x.mp4").shape == (1, 128, 1280, 3)


def test_what_cannot_be_read_says_why(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4 does not exist"):
        video.read_images(tmp_path / "gone.mp4")
    (tmp_path / "x.mp4").write_bytes(b"this is no media file" * 100)
    for function in (video.read_images, video.count_images):
        with pytest.raises(ValueError, match=r"x\.mp4.* cannot be decoded"):
            function(tmp_path / "x.mp4")
    with av.open(str(tmp_path / "y.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        container.mux([*stream.encode(silence), *stream.encode()])
    for function in (video.read_images, video.count_images):
        with pytest.raises(ValueError, match=r"y\.mp4 has no video stream"):
            function(tmp_path / "y.mp4")


def test_mouths_are_stored_small_and_read_back_nearly_the_same(talking_faces, tmp_path):
    mouth = mouths.crop_mouth(talking_faces[0], mouths.fill_in(landmarks.find(talking_faces[0])))
    video.write_mouth(tmp_path / "s1" / "x.mp4", mouth)
    back = video.read_mouth(tmp_path / "s1" / "x.mp4")
    assert back.shape == mouth.shape and back.dtype == np.uint8
    assert np.abs(back.astype(int) - mouth).mean() < 1.5
    assert (tmp_path / "s1" / "x.mp4").stat().st_size < mouth.size / 5
    assert [p.name for p in (tmp_path / "s1").iterdir()] == ["x.mp4"]


def test_storage_keeps_black_white_and_contrast(tmp_path):
    levels = np.repeat(np.linspace(0, 255, 12).astype(np.uint8), 8)
    mouth = np.broadcast_to(levels, (3, 96, 96))
    video.write_mouth(tmp_path / "x.mp4", mouth)
    back = video.read_mouth(tmp_path / "x.mp4").astype(int)
    assert np.abs(back - mouth)[:, :, 3::8].max() <= 4


def test_the_same_mouth_gives_the_same_bytes(tmp_path):
    mouth = np.random.default_rng(0).integers(0, 255, (20, 96, 96), dtype=np.uint8)
    mouth = np.stack([cv2.GaussianBlur(m, (0, 0), 3) for m in mouth])
    stored = set()
    for _ in range(6):
        video.write_mouth(tmp_path / "x.mp4", mouth)
        stored.add((tmp_path / "x.mp4").read_bytes())
    assert len(stored) == 1


def test_a_mouth_file_that_is_incomplete_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="run stage 1"):
        video.read_mouth(tmp_path / "x.mp4")
    video.write_mouth(tmp_path / "x.mp4", np.zeros((20, 96, 96), np.uint8))
    whole = (tmp_path / "x.mp4").read_bytes()
    for cut in (0, 100, len(whole) // 2):
        (tmp_path / "x.mp4").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"x\.mp4 is not a complete file of .*: delete"):
            video.read_mouth(tmp_path / "x.mp4")
    write_video(tmp_path / "y.mp4", numbered(3), [0, 40, 80])
    with pytest.raises(ValueError, match=r"y\.mp4 is not a complete file"):
        video.read_mouth(tmp_path / "y.mp4")


def test_a_full_disk_leaves_the_old_mouths(tmp_path, monkeypatch):
    video.write_mouth(tmp_path / "x.mp4", np.zeros((20, 96, 96), np.uint8))
    before = (tmp_path / "x.mp4").read_bytes()

    @contextlib.contextmanager
    def full(path, mode, format):
        Path(path).write_bytes(b"half a file")
        raise av.error.OSError(28, "No space left on device")
        yield

    monkeypatch.setattr(av, "open", full)
    with pytest.raises(OSError, match="No space left"):
        video.write_mouth(tmp_path / "x.mp4", np.ones((20, 96, 96), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["x.mp4"]
    assert (tmp_path / "x.mp4").read_bytes() == before

"""Images of media files."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mome.data import video


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

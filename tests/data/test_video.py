"""Images of media files."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from mome.data import video


def write_video(
    path: Path, images: np.ndarray, times_ms: list[float], turn: tuple = (), aspect: float = 1
) -> None:
    """Images (T, H, W), grey, or (T, H, W, 3) at the given times.

    `turn` is how the images are to be shown: degrees counter-clockwise, mirrored, upside down;
    `aspect` how wide a pixel is.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10", "bf": "0", "g": "25"}
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if turn:
            stream.set_display_rotation(*turn)
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
    "every_ms, shown",
    [
        pytest.param(40, range(10), id="25 a second: each image once"),
        pytest.param(20, [0, 2, 4, 6, 8], id="50 a second: each second image"),
        pytest.param(80, np.repeat(range(10), 2), id="12.5 a second: each image twice"),
    ],
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
    assert shown == [round(1.2 * k) for k in range(25)]
    assert "30 frames a second is resampled to 25" in caplog.text
    assert video.count_images(tmp_path / "x.mp4") == 25


@pytest.mark.parametrize("rate", [15, 23.976, 24, 29.97, 50, 59.94])
def test_images_do_not_lag_at_any_rate(rate):
    """At each moment, the image that is shown is the nearest one of all, in a slow, obvious way."""
    times = np.arange(round(4 * rate)) / rate
    shown = list(video.at_25_fps(zip(times, times, strict=True), lambda: 4.0))
    moments = np.arange(len(shown)) / 25
    assert abs(len(shown) - 100) <= 1
    nearest = np.abs(times - moments[:, None]).min(axis=1)
    np.testing.assert_allclose(np.abs(np.array(shown) - moments), nearest, atol=1e-5)
    assert abs(np.mean(shown - moments)) < 0.004  # 24 a second lagged by 20 ms


def test_in_a_gap_the_nearest_image_is_shown(tmp_path):
    write_video(tmp_path / "x.mp4", numbered(4), [0, 40, 160, 200])
    assert numbers(video.read_images(tmp_path / "x.mp4")) == [0, 1, 1, 2, 2, 3]
    assert video.count_images(tmp_path / "x.mp4") == 6


def test_late_starts_and_rounded_times_are_25_a_second(tmp_path):
    times = [1.004, 1.041, 1.083, 1.12]
    assert list(video.at_25_fps([(t - 1.004, t) for t in times], lambda: 0.16)) == times
    write_video(tmp_path / "x.mp4", numbered(4), [round(1000 * t) for t in times])
    assert numbers(video.read_images(tmp_path / "x.mp4")) == [0, 1, 2, 3]


def test_time_stamps_that_jump_are_refused(tmp_path, refused):
    write_video(tmp_path / "x.mp4", numbered(4), [0, 40, 80, 3_600_000])
    with refused("time stamps that jump", r"x\.mp4: its time stamps jump by 3599\.9 s at 0\.1 s"):
        video.read_images(tmp_path / "x.mp4")


CORNER = {  # where the white corner of an image, at first above on the left, is to be seen
    (0, False, False): "above left",
    (90, False, False): "below left",
    (180, False, False): "below right",
    (-90, False, False): "above right",
    (0, True, False): "above right",
    (0, False, True): "below left",
    (90, True, False): "below right",
    (-90, True, False): "above left",
}


@pytest.mark.parametrize("turn", CORNER, ids=[f"{t}: {c}" for t, c in CORNER.items()])
def test_a_display_matrix_turns_and_mirrors_the_images(tmp_path, turn):
    images = np.zeros((3, 32, 48), np.uint8)
    images[:, :8, :8] = 255
    write_video(tmp_path / "x.mp4", images, [0, 40, 80], turn)
    for pixels in ("gray", "rgb24"):
        image = video.read_images(tmp_path / "x.mp4", pixels)[0]
        assert image.shape[:2] == ((48, 32) if abs(turn[0]) == 90 else (32, 48))
        y, x = np.argwhere(image.reshape(*image.shape[:2], -1)[..., 0] > 128).mean(axis=0)
        row = "above" if y < image.shape[0] / 2 else "below"
        assert f"{row} {'left' if x < image.shape[1] / 2 else 'right'}" == CORNER[turn]


@pytest.mark.parametrize(
    "aspect, turn, shape",
    [
        pytest.param(1.5, (), (32, 72), id="wide pixels: the image is widened"),
        pytest.param(0.5, (), (64, 48), id="high pixels: the image is heightened"),
        pytest.param(1.5, (90,), (72, 32), id="wide pixels, turned"),
    ],
)
def test_pixels_become_square(tmp_path, aspect, turn, shape):
    write_video(tmp_path / "x.mp4", numbered(3), [0, 40, 80], turn, aspect)
    assert video.read_images(tmp_path / "x.mp4", "gray").shape == (3, *shape)


def cut_without_coding(path: Path, out: Path, seconds: float) -> None:
    """As `ffmpeg -ss SECONDS -i PATH -c copy OUT`: an edit list hides what is before."""
    with av.open(str(path)) as source, av.open(str(out), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                packet.pts -= round(seconds / packet.time_base)
                packet.dts -= round(seconds / packet.time_base)
                container.mux(packet)


def test_an_edit_list_hides_images_and_the_count_knows(tmp_path):
    write_video(tmp_path / "x.mp4", numbered(40), [k * 40 for k in range(40)])
    cut_without_coding(tmp_path / "x.mp4", tmp_path / "y.mp4", 0.48)
    assert numbers(video.read_images(tmp_path / "y.mp4")) == list(range(12, 40))
    assert video.count_images(tmp_path / "y.mp4") == 28


def test_of_two_streams_the_default_is_read(tmp_path):
    for default in (0, 1):
        with av.open(str(tmp_path / "x.mkv"), "w") as container:
            streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
            for k, stream in enumerate(streams):
                stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
                stream.disposition = Disposition.default if k == default else Disposition(0)
            for k, stream in enumerate(streams):
                grey = np.full((32, 48), 200 * k, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="gray")
                frame.pts = 0
                container.mux([*stream.encode(frame), *stream.encode()])
        assert (video.read_images(tmp_path / "x.mkv").mean() > 100) == (default == 1)


def test_a_cover_picture_is_no_video(tmp_path, refused):
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        sound, cover = container.add_stream("aac", rate=16000), container.add_stream("png", rate=25)
        sound.layout = "mono"
        cover.width, cover.height, cover.pix_fmt = 48, 32, "gray"
        cover.disposition = Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.full((32, 48), 200, np.uint8), format="gray")
        container.mux([*cover.encode(frame), *cover.encode()])
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        container.mux([*sound.encode(silence), *sound.encode()])
    with av.open(str(tmp_path / "x.mp4")) as container:
        assert container.streams.video, "the file has no cover"
    with refused("a cover picture alone", r"x\.mp4 has no video stream"):
        video.read_images(tmp_path / "x.mp4")


def damaged(tmp_path: Path, which: list[int]) -> Path:
    """A clip of 50 images; the packets of some cannot be decoded."""
    write_video(tmp_path / "x.mp4", numbered(50), [k * 40 for k in range(50)])
    data = bytearray((tmp_path / "x.mp4").read_bytes())
    with av.open(str(tmp_path / "x.mp4")) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for position, _ in (packets[k] for k in which):
        data[position : position + 4] = b"\xff" * 4  # the length of its first unit
    (tmp_path / "x.mp4").write_bytes(data)
    return tmp_path / "x.mp4"


def test_of_damaged_images_the_nearest_good_one_is_shown_and_they_are_counted(tmp_path):
    reader = video.ImageReader(damaged(tmp_path, [3, 4, 49]))
    shown = numbers(np.stack(list(reader)))
    assert len(shown) == reader.num_images == 50
    assert shown[2:6] == [2, 2, 5, 5] and shown[-2:] == [48, 48]
    assert reader.lost == "3 of 50 images are damaged or missing"
    assert video.count_images(tmp_path / "x.mp4") == 50


def test_images_that_the_decoder_gives_with_errors_are_lost(tmp_path):
    """A bit error in a picture of noise: the decoder gives the image, and a flag."""
    noise = np.random.default_rng(0).integers(0, 255, (30, 96, 96), dtype=np.uint8)
    write_video(tmp_path / "x.mp4", noise, [k * 40 for k in range(30)])
    with av.open(str(tmp_path / "x.mp4")) as container:
        packet = next(p for k, p in enumerate(container.demux(video=0)) if k == 7)
        middle = packet.pos + packet.size // 2
    data = bytearray((tmp_path / "x.mp4").read_bytes())
    data[middle : middle + 40] = bytes(40)
    (tmp_path / "x.mp4").write_bytes(data)
    with av.open(str(tmp_path / "x.mp4")) as container:
        flags = [frame.is_corrupt for frame in container.decode(video=0)]
    assert flags == [k == 7 for k in range(30)], "the decoder does not see this error"
    reader = video.ImageReader(tmp_path / "x.mp4", "gray")
    images = list(reader)
    assert images[7] is images[6] and len(images) == 30
    assert reader.lost == "1 of 30 images are damaged or missing"


def test_a_clip_that_has_lost_too_many_images_is_refused(tmp_path, refused):
    path = damaged(tmp_path, [*range(10, 16)])
    with refused("damaged images", r"x\.mp4: 6 of 50 images are damaged or missing; at most 10%"):
        video.read_images(path)


def test_a_file_that_was_cut_short_is_refused(tmp_path, refused):
    write_video(tmp_path / "x.mp4", numbered(50), [k * 40 for k in range(50)])
    options = {"movflags": "faststart"}  # with the table of all packets at the beginning
    with (
        av.open(str(tmp_path / "x.mp4")) as source,
        av.open(str(tmp_path / "y.mp4"), "w", options=options) as container,
    ):
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    data = (tmp_path / "y.mp4").read_bytes()
    (tmp_path / "y.mp4").write_bytes(data[: -len(data) // 4])
    with refused("a file that was cut short", r"y\.mp4: \d+ of \d+ images are damaged or missing"):
        video.read_images(tmp_path / "y.mp4")


def test_large_images_are_shrunk(tmp_path):
    write_video(tmp_path / "x.mp4", np.zeros((1, 200, 2000), np.uint8), [0])
    assert video.read_images(tmp_path / "x.mp4").shape == (1, 128, 1280, 3)


def test_what_cannot_be_read_says_why(tmp_path, refused):
    with refused("no file", r"gone\.mp4 does not exist", FileNotFoundError):
        video.read_images(tmp_path / "gone.mp4")
    (tmp_path / "x.mp4").write_bytes(b"this is no media file" * 100)
    for function in (video.read_images, video.count_images):
        with refused(f"no media, {function.__name__}", r"x\.mp4.* cannot be decoded"):
            function(tmp_path / "x.mp4")
    with av.open(str(tmp_path / "y.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        container.mux([*stream.encode(silence), *stream.encode()])
    for function in (video.read_images, video.count_images):
        with refused(f"sound alone, {function.__name__}", r"y\.mp4 has no video stream"):
            function(tmp_path / "y.mp4")

"""Read the images of media files at 25 frames a second, as a player would show them.

    what a file has                   what is read
    25 frames a second                each image once
    another rate, uneven times        at each moment k / 25 s the image that is nearest in time
    a display matrix (phones)         upright images: turned by quarters, mirrored
    a pixel aspect ratio              square pixels: the images are widened or heightened
    an edit list (cut without coding) the part that is shown; `count_images` counts that part too
    several video streams, a cover    the default stream, never the cover
    damaged or missing images         the nearest good image instead; `num_lost` counts them, and a
                                      file that has lost more than a tenth (`media.MAX_LOST`) is
                                      refused, and so is one cut short by a broken copy
    images above 1280 pixels          shrunk to 1280
    another size in the middle        scaled to the size of the first image
    time stamps that jump by 10 s     refused

Memory holds one image at a time (`ImageReader`) or all of them (`read_images`).

Shape key: T images of a clip, H, W pixels.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter

from mome.data import VIDEO_FPS, frame_range, media

log = logging.getLogger(__name__)

MAX_SIDE = 1280  # pixels; larger images are shrunk to this when they are read
TIE = 1e-6  # seconds: of two images that are equally near, the earlier one is shown
T = TypeVar("T")


class ImageReader:
    """The images of a media file, or of a piece `clip.mp4[80:246]`, one by one, at 25 a second.

    Iterating gives arrays (H, W, 3) uint8 RGB, or (H, W) when `pixels` is "gray"; the same array
    again where an image is shown twice. A second iteration decodes the file again. It raises
    FileNotFoundError, or ValueError when the file has no video, cannot be decoded, has lost too
    many images, or ends before the piece does.

    Attributes, which hold after an iteration:
        num_images: T, the number of images given.
        lost: how many images are damaged or missing, in words; "" when none is.
    """

    def __init__(self, path: str | Path, pixels: str = "rgb24"):
        self.path, self.piece = frame_range.split(path)
        self.pixels = pixels
        self.num_images, self.lost = 0, ""

    def __iter__(self) -> Iterator[np.ndarray]:
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist")
        self.num_images, self.lost = 0, ""
        try:
            with av.open(str(self.path), metadata_errors="replace") as container:
                stream = media.find_stream(container, "video", self.path)
                stream.thread_type = "NONE"
                yield from self._images_of(media.Frames(container, stream, self.path))
        except av.FFmpegError as error:
            raise ValueError(
                f"{self.path}: its video cannot be decoded ({error.strerror})"
            ) from None

    def _images_of(self, frames: media.Frames) -> Iterator[np.ndarray]:
        first, last = self.piece or (0, None)
        to_pixels = _Converter(frames.stream, self.pixels)
        shown: av.VideoFrame | None = None
        num = 0
        for num, frame in enumerate(at_25_fps(_timed(frames), lambda: _duration(frames)), start=1):
            if num > first:
                if frame is not shown:
                    shown, image = frame, to_pixels(frame)
                self.num_images += 1
                yield image
            if num - 1 == last:
                break  # the rest is not needed
        if not num:
            raise ValueError(f"{self.path} has a video stream without images")
        self.lost = frames.check()
        log_if_resampled(np.sort(frames.times))
        if last is not None and num <= last:
            raise ValueError(
                f"{self.path} has {num} images: it ends before its piece, {first} to {last}"
            )


def read_images(path: str | Path, pixels: str = "rgb24") -> np.ndarray:
    """All images of a media file, or of a piece `clip.mp4[80:246]`, at 25 frames a second.

    Args:
        pixels: "rgb24" gives (T, H, W, 3) uint8, "gray" (T, H, W).

    Raises as `ImageReader`.
    """
    return np.stack(list(ImageReader(path, pixels)))


def count_images(path: str | Path) -> int:
    """How many images `read_images` gives of a file that is not damaged; nothing is decoded.

    Raises ValueError when there is no video stream or the file cannot be opened.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = media.find_stream(container, "video", path)
            frames = media.Frames(container, stream, path)
            frames.read_times()
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be decoded ({error.strerror})") from None
    if not frames.times:
        raise ValueError(f"{path} has a video stream without images")
    times = ((time - frames.start, time) for time in sorted(frames.times))
    return sum(1 for _ in at_25_fps(times, lambda: _duration(frames)))


def at_25_fps(images: Iterable[tuple[float, T]], duration: Callable[[], float]) -> Iterator[T]:
    """For each moment k / 25 s the image that is nearest in time; of two, the earlier one.

    Args:
        images: times in seconds, which grow, with their images.
        duration: of the clip in seconds; called when the images have ended.
    """
    num, before = 0, None
    for time, image in images:
        while before and num / VIDEO_FPS <= (before[0] + time) / 2 + TIE:
            yield before[1]
            num += 1
        before = time, image
    if before:
        for _ in range(num, max(1, round(duration() * VIDEO_FPS))):
            yield before[1]


def _timed(frames: media.Frames) -> Iterator[tuple[float, av.VideoFrame]]:
    """Each frame and its time in seconds from the start of the stream on; times grow.

    Raises ValueError when they jump.
    """
    last = None
    for frame in frames:
        time = frame.time
        if time is None:
            time = frames.start if last is None else last + frames.step
        before = frames.start if last is None else last
        media.check_jump(time - before, before - frames.start, frames.path)
        if last is not None and time <= last:
            frames.num_lost += time < last
            continue
        last = time
        yield time - frames.start, frame


def _duration(frames: media.Frames) -> float:
    """From the start to the end of the last frame, in seconds; a frame lasts as long as most do."""
    times = np.sort(frames.times) - frames.start
    return float(times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 1 / VIDEO_FPS))


def log_if_resampled(times: np.ndarray) -> None:
    """Say so when images with these times in seconds, which grow, do not come at 25 a second."""
    steady = times[0] + np.arange(len(times)) / VIDEO_FPS
    if np.abs(times - steady).max() > 0.25 / VIDEO_FPS:
        log_resampled(round((len(times) - 1) / (times[-1] - times[0]), 1))


@functools.cache
def log_resampled(rate: float) -> None:
    """Once per process and rate: one line per clip would flood the log."""
    log.info("video at %g frames a second is resampled to %d", rate, VIDEO_FPS)


class _Converter:
    """Decoded frames to arrays as they are to be seen, with the size and turn of the first one."""

    def __init__(self, stream: av.VideoStream, pixels: str):
        self.pixels = pixels
        self.aspect = float(stream.sample_aspect_ratio or 1)  # width of a pixel for height 1
        self.size: tuple[int, int] | None = None
        self.matrix: np.ndarray | None = None
        self.reformatter = VideoReformatter()  # making one takes longer than using it

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        if self.size is None:
            self.size = square_pixels(frame.width, frame.height, self.aspect)
            self.matrix = display_matrix(frame)
        width, height = self.size
        how = "AREA" if width * height < frame.width * frame.height else "BILINEAR"
        sized = self.reformatter.reformat(
            frame, width, height, self.pixels, interpolation=how, threads=1
        )
        return turned(sized.to_ndarray(), self.matrix)


def square_pixels(width: int, height: int, aspect: float) -> tuple[int, int]:
    """The width and height of an image with square pixels, at most MAX_SIDE each.

    Pixels that are `aspect` as wide as high are widened when that is above 1, and heightened when
    it is below 1, so no detail is lost.
    """
    wide, high = width * max(aspect, 1.0), height * max(1 / aspect, 1.0)
    shrink = min(1.0, MAX_SIDE / max(wide, high))
    if shrink == 1:
        return round(wide), round(high)
    return max(2, 2 * round(wide * shrink / 2)), max(2, 2 * round(high * shrink / 2))


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """The part (2, 2) of the display matrix that maps (x, y) of the stored image to the shown one.

    None when the frame has no matrix: the image is shown as it is.
    """
    try:
        data = bytes(frame.side_data[Type.DISPLAYMATRIX])  # type: ignore
    except KeyError:
        return None
    return np.frombuffer(data, np.int32, count=9).reshape(3, 3)[:2, :2].T / 65536


def turned(image: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """An image (H, W, ...) turned by quarters and mirrored as a display matrix (2, 2) says."""
    if matrix is None:
        return image
    if abs(matrix[0, 1]) > abs(matrix[0, 0]):
        image, matrix = cv2.transpose(image), matrix[:, ::-1]
    if matrix[0, 0] < 0:
        image = cv2.flip(image, 1)
    if matrix[1, 1] < 0:
        image = cv2.flip(image, 0)
    return image

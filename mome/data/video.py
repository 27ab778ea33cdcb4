"""Read the images of media files at 25 frames a second.

Shape key: T images of a clip, H, W pixels.
"""

import functools
import logging
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from mome.data import VIDEO_FPS, frame_range

log = logging.getLogger(__name__)

MAX_SIDE = 1280  # pixels; larger images are shrunk to this when they are read


def read_images(path: str | Path, pixels: str = "rgb24") -> np.ndarray:
    """The images of a media file, or of a piece `clip.mp4[80:246]`, at 25 frames a second.

    Other rates and uneven times are resampled: each moment shows the latest image. The log says so.

    Args:
        pixels: "rgb24" gives (T, H, W, 3) uint8, "gray" (T, H, W).

    Raises FileNotFoundError, or ValueError when the file has no video, cannot be decoded, or ends
    before the piece does.
    """
    path, piece = frame_range.split(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    images: list[np.ndarray] = []
    times: list[float] = []
    convert = VideoReformatter()  # one for all frames: making one takes longer than using it
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = _video_stream(container, path)
            stream.thread_type = "NONE"
            rate = float(stream.average_rate or VIDEO_FPS)
            for frame in container.decode(stream):
                images.append(_pixels_of(frame, pixels, convert))
                times.append(len(times) / rate if frame.time is None else frame.time)
                if piece and _is_video_fps(rate) and len(images) > piece[1] + VIDEO_FPS:
                    break  # the rest is not needed
    except av.FFmpegError as error:
        raise ValueError(f"{path}: its video cannot be decoded ({error.strerror})") from None
    if not images:
        raise ValueError(f"{path} has a video stream without images")
    shown = at_25_fps(np.array(times))
    if shown is not None:
        log_resampled((len(images) - 1) / max(times[-1] - times[0], 1e-6))
        images = [images[k] for k in shown]
    if piece and piece[1] >= len(images):
        raise ValueError(
            f"{path} has {len(images)} images: it ends before its piece, {piece[0]} to {piece[1]}"
        )
    return np.stack(images[piece[0] : piece[1] + 1] if piece else images)


def _video_stream(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    """The first video stream of an open file. Raises ValueError when none can be decoded."""
    if not container.streams.video:
        raise ValueError(f"{path} has no video stream")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ValueError(f"{path} has a video stream of an unknown codec")
    return stream


def _pixels_of(frame: av.VideoFrame, pixels: str, convert: VideoReformatter) -> np.ndarray:
    """A decoded frame as an array, shrunk when its longer side is above MAX_SIDE."""
    shrink = MAX_SIDE / max(frame.width, frame.height)
    if shrink >= 1:
        return convert.reformat(frame, format=pixels).to_ndarray()
    width, height = (2 * round(side * shrink / 2) for side in (frame.width, frame.height))
    return convert.reformat(frame, width, height, pixels, interpolation="AREA").to_ndarray()


def at_25_fps(times: np.ndarray) -> np.ndarray | None:
    """Which image is shown at each moment k / 25 s, given the times of the images in seconds.

    An image is shown until the next one begins, the last one for the mean time of an image. Returns
    indices, or None when the images already come at 25 a second.
    """
    times = times - times[0]
    if np.abs(times - np.arange(len(times)) / VIDEO_FPS).max() < 0.25 / VIDEO_FPS:
        return None
    duration = times[-1] * len(times) / max(len(times) - 1, 1)
    moments = np.arange(max(1, round(duration * VIDEO_FPS))) / VIDEO_FPS
    return np.maximum(np.searchsorted(times, moments + 0.001, side="right") - 1, 0)


def _is_video_fps(rate: float) -> bool:
    return abs(rate - VIDEO_FPS) < 0.01


@functools.cache
def log_resampled(rate: float) -> None:
    """Once per process and rate: one line per clip would flood the log."""
    log.info("video at %.2f frames a second is resampled to %d", rate, VIDEO_FPS)


def count_images(path: str | Path) -> int:
    """How many images `read_images` gives; they are decoded only if the file does not say.

    Raises ValueError when there is no video stream or the file cannot be opened.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = _video_stream(container, path)
            if stream.frames and _is_video_fps(float(stream.average_rate or 0)):
                return stream.frames
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be decoded ({error.strerror})") from None
    return len(read_images(path, pixels="gray"))

"""Video: read the images of media files, crop mouths from them, store and read the crops.

The crops of a clip are (T, 96, 96) uint8, grey, at 25 frames a second. Landmarks (both eyes, base
of the nose, mouth; see landmarks.py) are interpolated where the face was lost, and smoothed over
time. A similarity transform then maps eyes and nose to those of a mean face and the mouth to the
middle of the crop, so the mouth is upright and has one size in every clip. The mean face is that of
AV-HuBERT's crops (68-point landmarks averaged over LRW): its pretrained encoder sees the crops that
it was trained on.

Shape key: T images of a clip, H, W pixels.
"""

import functools
import logging
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from mome import files
from mome.data import VIDEO_FPS, frame_range

log = logging.getLogger(__name__)

SIZE = 96  # width and height of a crop in pixels
SMOOTHING = 7  # images, of the moving average over landmarks
MIN_FOUND = 0.5  # share of the images in which a face must be found
MAX_SIDE = 1280  # pixels; larger images are shrunk to this when they are read
# Left eye, right eye and base of the nose in a crop, in pixels from the middle of the mouth.
MEAN_FACE = np.array([[-27.3, -63.5], [27.0, -64.2], [-0.4, -21.9]])
WEIGHTS = np.array([2.0, 2.0, 1.0])  # an eye is the mean of two corners
# Without lookahead, where x264 reads memory that it has not written: files would differ.
STORAGE = {
    "crf": "16",
    "preset": "veryfast",
    "threads": "1",
    "bf": "0",
    "x264-params": "rc-lookahead=0:no-mbtree=1:scenecut=0",
}
# Box of the mouth in a clip of LRS2 or LRS3, as shares of width and height. It has half of each
# side, as in Afouras et al. 2018, but lies lower, where the mouth is.
CENTRE_BOX = (0.25, 0.33, 0.75, 0.83)  # left, top, right, bottom


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
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = _video_stream(container, path)
            stream.thread_type = "NONE"
            rate = float(stream.average_rate or VIDEO_FPS)
            for frame in container.decode(stream):
                images.append(_pixels_of(frame, pixels))
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


def _pixels_of(frame: av.VideoFrame, pixels: str) -> np.ndarray:
    """A decoded frame as an array, shrunk when its longer side is above MAX_SIDE."""
    shrink = MAX_SIDE / max(frame.width, frame.height)
    if shrink >= 1:
        return frame.to_ndarray(format=pixels)
    width, height = (2 * round(side * shrink / 2) for side in (frame.width, frame.height))
    return frame.to_ndarray(format=pixels, width=width, height=height, interpolation="AREA")


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


def fill_in(points: np.ndarray) -> np.ndarray:
    """Landmarks (T, 4, 2) without gaps and smoothed over time.

    Gaps are interpolated; at the ends, the nearest landmarks are repeated. Raises ValueError when a
    face was found in less than half of the images.
    """
    found = ~np.isnan(points[:, 0, 0])
    if not found.any() or found.mean() < MIN_FOUND:
        raise ValueError(f"a face was found in {found.sum()} of {len(found)} images")
    t, known = np.arange(len(points)), np.flatnonzero(found)
    flat = points.reshape(len(points), -1)
    filled = np.stack([np.interp(t, known, flat[known, k]) for k in range(flat.shape[1])], axis=1)
    half = SMOOTHING // 2
    padded = np.pad(filled, ((half, half), (0, 0)), mode="edge")
    kernel = np.ones(SMOOTHING) / SMOOTHING
    smooth = np.stack([np.convolve(c, kernel, "valid") for c in padded.T], axis=1)
    return smooth.reshape(points.shape).astype(np.float32)


def to_crop(points: np.ndarray) -> np.ndarray:
    """The similarity transforms (T, 2, 3) from images to crops, for landmarks (T, 4, 2).

    Rotation and scale are the least-squares fit of eyes and nose to the mean face. The translation
    puts the mouth in the middle. Raises ValueError when eyes and nose are in one place.
    """
    z = points[..., 0] + 1j * points[..., 1]
    mean_face = MEAN_FACE[:, 0] + 1j * MEAN_FACE[:, 1]
    own = z[:, :3] - np.average(z[:, :3], axis=1, weights=WEIGHTS)[:, None]
    target = mean_face - np.average(mean_face, weights=WEIGHTS)
    size = (WEIGHTS * np.abs(own) ** 2).sum(axis=1)
    if not (size > 1).all():
        raise ValueError("the landmarks do not form a face")
    turn = (WEIGHTS * own.conj() * target).sum(axis=1) / size
    move = (SIZE - 1) / 2 * (1 + 1j) - turn * z[:, 3]
    rows = [[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]]
    return np.moveaxis(np.array(rows), -1, 0)


def crop_mouth(images: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The mouth in each image, grey, uint8 (T, 96, 96); `points` (T, 4, 2) as from `fill_in`."""
    crops = []
    for image, transform in zip(images, to_crop(points), strict=True):
        grey = _grey(image)
        shrink = int(1 / np.hypot(*transform[:, 0]))
        if shrink > 1:  # a large face: average pixels first, against aliasing
            size = (grey.shape[1] // shrink, grey.shape[0] // shrink)
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
            transform = transform @ np.diag([shrink, shrink, 1.0])
        crops.append(
            cv2.warpAffine(
                grey,
                transform,
                (SIZE, SIZE),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )
    return np.stack(crops)


def crop_centre(images: np.ndarray) -> np.ndarray:
    """The mouth of a clip that is a face track: a fixed box of each image, (T, 96, 96)."""
    _, height, width = images.shape[:3]
    left, top, right, bottom = CENTRE_BOX
    x = slice(int(left * width), int(right * width))
    y = slice(int(top * height), int(bottom * height))
    boxes = [_grey(image)[y, x] for image in images]
    return np.stack([cv2.resize(b, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for b in boxes])


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image


def write_mouth(path: str | Path, mouth: np.ndarray) -> None:
    """Store mouth crops (T, 96, 96) uint8 as grey H.264; the same crops give the same bytes.

    At this quality a pixel is off by 0.9 of 255 grey levels on average, in 450 bytes per image
    (lossless takes 2,600); writing takes 0.3 ms per image, reading 0.1 ms. Raises OSError.
    """
    try:
        with (
            files.atomic_write(path) as tmp_path,
            av.open(str(tmp_path), "w", format="mp4") as container,
        ):
            stream = container.add_stream("libx264", rate=VIDEO_FPS)
            stream.width, stream.height = mouth.shape[2], mouth.shape[1]
            stream.pix_fmt = "gray"
            stream.codec_context.color_range = av.video.reformatter.ColorRange.JPEG  # 0 to 255
            stream.options = dict(STORAGE)
            for k, image in enumerate(mouth):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="gray")
                frame.pts, frame.time_base = k, Fraction(1, VIDEO_FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except av.FFmpegError as error:  # such as a full disk; PyAV's errors do not cross processes
        raise OSError(error.errno, error.strerror, str(path)) from None


def read_mouth(path: str | Path) -> np.ndarray:
    """Mouth crops that `write_mouth` stored, uint8 (T, 96, 96).

    Raises FileNotFoundError, or ValueError for a file of another kind or an incomplete one.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist: run stage 1 of the recipe to crop mouths")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            # The luma plane as it is stored; a conversion to grey would stretch its contrast.
            planes = [frame.planes[0] for frame in container.decode(stream)]
            images = [
                np.frombuffer(memoryview(p), np.uint8).reshape(p.height, -1)[:, :SIZE]
                for p in planes
            ]
            complete = len(images) == stream.frames and images[0].shape == (SIZE, SIZE)
    except (av.FFmpegError, IndexError):
        complete = False
    if not complete:
        raise ValueError(
            f"{path} is not a complete file of mouth crops: delete it and run stage 1 of the recipe"
        )
    return np.stack(images)

"""Media files -> mouths: read at 25 frames a second, find the face, crop and store the mouth.

A mouth is (T, 96, 96) uint8, grey. Landmarks (both eyes, nose, mouth) are found in each frame,
filled in where the face was lost and smoothed over time. The similarity transform that takes eyes
and nose to those of a mean face turns and scales the picture, and the mouth is put in the middle:
so it stands upright and at one size in every clip. The mean face is the one that AV-HuBERT's crops
are made with (mean of 68-point landmarks over LRW), so its pretrained weights see what they know.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from mome.data import frame_range

log = logging.getLogger(__name__)

FPS = 25
SIZE = 96  # pixels, of a crop
BACKENDS = ("mediapipe", "mtcnn", "centre")
SMOOTHING = 7  # frames
MIN_FOUND = 0.5  # share of the frames in which a face must be found
MAX_SIDE = 1280  # pixels; larger pictures are made smaller when they are read
# Where the left eye, right eye and base of the nose come to lie, from the middle of the mouth.
MEAN_FACE = np.array([[-27.3, -63.5], [27.0, -64.2], [-0.4, -21.9]])
WEIGHTS = np.array([2.0, 2.0, 1.0])  # an eye is two corners
# Points of mediapipe's face mesh whose means are the landmarks: eyes, base of the nose, mouth.
MESH_POINTS = ([33, 133], [362, 263], [98, 97, 2, 326, 327], [61, 291, 0, 17])
# Without looking ahead: for that x264 reads memory it has not written, and two files differ.
STORAGE = {
    "crf": "16",
    "preset": "veryfast",
    "threads": "1",
    "bf": "0",
    "x264-params": "rc-lookahead=0:no-mbtree=1:scenecut=0",
}
# Of a LRS clip, a face track: the mouth's box in shares of width and height. Half of each side, as
# Afouras et al. 2018 take, but lower, where the mouth is.
CENTRE_BOX = (0.25, 0.33, 0.75, 0.83)  # left, top, right, bottom


def read_frames(path: str | Path, pixels: str = "rgb24") -> np.ndarray:
    """The picture of a media file at 25 frames a second: uint8 (T, H, W, 3), or (T, H, W) grey.

    Of a piece, `clip.mp4[80:246]`, its frames; ValueError when the file has not that many.

    Other rates, and frames that do not come at even times, are resampled by taking for each moment
    the latest frame; the log says so. Raises FileNotFoundError, or ValueError when there is no
    picture or it cannot be decoded.
    """
    path, piece = frame_range.split(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    frames, times = [], []
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = picture_of(container, path)
            stream.thread_type = "NONE"
            rate = float(stream.average_rate or FPS)
            for frame in container.decode(stream):
                frames.append(pixels_of(frame, pixels))
                times.append(len(times) / rate if frame.time is None else frame.time)
                if piece and abs(rate - FPS) < 0.01 and len(frames) > piece[1] + FPS:
                    break  # the rest is not asked for
    except av.FFmpegError as error:
        raise ValueError(f"{path}: its video cannot be decoded ({error.strerror})") from None
    if not frames:
        raise ValueError(f"{path} has a video stream without frames")
    moments = at_25_fps(np.array(times))
    if moments is not None:
        tell_resampled((len(frames) - 1) / max(times[-1] - times[0], 1e-6))
        frames = [frames[k] for k in moments]
    if piece and piece[1] >= len(frames):
        raise ValueError(f"{path} has {len(frames)} frames, but {piece[0]} to {piece[1]} are asked")
    return np.stack(frames[piece[0] : piece[1] + 1] if piece else frames)


def picture_of(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    """The first video stream of an open file. Raises ValueError when none can be decoded."""
    if not container.streams.video:
        raise ValueError(f"{path} has no video stream")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ValueError(f"{path} has a video stream of an unknown kind")
    return stream


def pixels_of(frame: av.VideoFrame, pixels: str) -> np.ndarray:
    """A decoded frame as an array, made smaller when its longer side is above MAX_SIDE."""
    shrink = MAX_SIDE / max(frame.width, frame.height)
    if shrink >= 1:
        return frame.to_ndarray(format=pixels)
    width, height = (2 * round(side * shrink / 2) for side in (frame.width, frame.height))
    return frame.to_ndarray(format=pixels, width=width, height=height, interpolation="AREA")


def at_25_fps(times: np.ndarray) -> np.ndarray | None:
    """Which frame is seen at each moment k / 25 s, given the frames' times in seconds.

    None when the frames come at 25 a second already. A frame lasts until the next one, the last
    one as long as the mean.
    """
    times = times - times[0]
    if np.abs(times - np.arange(len(times)) / FPS).max() < 0.25 / FPS:
        return None
    duration = times[-1] * len(times) / max(len(times) - 1, 1)
    moments = np.arange(max(1, round(duration * FPS))) / FPS
    return np.maximum(np.searchsorted(times, moments + 0.001, side="right") - 1, 0)


@functools.cache
def tell_resampled(rate: float) -> None:
    """Once a process for each rate: a line for each clip would drown the log of a corpus."""
    log.info("video at %.2f frames a second is resampled to %d", rate, FPS)


def count_frames(path: str | Path) -> int:
    """How many frames `read_frames` gives, without decoding them where the file says.

    Raises ValueError when there is no video stream or the file cannot be opened.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = picture_of(container, path)
            if stream.frames and abs(float(stream.average_rate or 0) - FPS) < 0.01:
                return stream.frames
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be decoded ({error.strerror})") from None
    return len(read_frames(path, pixels="gray"))


def find_landmarks(frames: np.ndarray, backend: str = "mediapipe") -> np.ndarray:
    """Left eye, right eye, base of the nose and mouth of each of (T, H, W, 3) frames.

    (T, 4, 2) float32, points (x, y) in pixels, left as seen; NaN where no face was found.
    """
    if backend == "mtcnn":
        from mome.data import landmarks  # torch takes seconds to import

        return landmarks.landmarks_of(landmarks.find(frames))
    if backend != "mediapipe":
        raise ValueError(f"landmarks are found by mediapipe or mtcnn, not '{backend}'")
    T, height, width, _ = frames.shape
    points = np.full((T, 4, 2), np.nan, dtype=np.float32)
    with _silence():
        mesh = _face_mesh()
        mesh.reset()  # it tracks from frame to frame: forget the clip before
        for t, frame in enumerate(frames):
            faces = mesh.process(frame).multi_face_landmarks
            if faces:
                landmarks = faces[0].landmark
                for k, group in enumerate(MESH_POINTS):
                    xs = [landmarks[i].x for i in group]
                    ys = [landmarks[i].y for i in group]
                    points[t, k] = np.mean(xs) * width, np.mean(ys) * height
    return points


@functools.cache
def _face_mesh():
    """One for a process: after reset() it finds, bit for bit, what a new one does, 19 % faster."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    return FaceMesh(static_image_mode=False, max_num_faces=1, refine_landmarks=False)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send what native code writes to stderr to nowhere.

    mediapipe tells of each graph it starts, in five lines and before any log level can be set; of
    thousands of clips nothing else would be left to read. Its errors are exceptions, and stay.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def fill_in(points: np.ndarray) -> np.ndarray:
    """Landmarks (T, 4, 2) without gaps and smoothed over time.

    Frames in between are interpolated, those at the ends repeated. Raises ValueError when the face
    was found in less than half of the frames.
    """
    found = ~np.isnan(points[:, 0, 0])
    if not found.any() or found.mean() < MIN_FOUND:
        raise ValueError(f"a face was found in {found.sum()} of {len(found)} frames")
    t, known = np.arange(len(points)), np.flatnonzero(found)
    flat = points.reshape(len(points), -1)
    filled = np.stack([np.interp(t, known, flat[known, k]) for k in range(flat.shape[1])], axis=1)
    half = SMOOTHING // 2
    padded = np.pad(filled, ((half, half), (0, 0)), mode="edge")
    kernel = np.ones(SMOOTHING) / SMOOTHING
    smooth = np.stack([np.convolve(c, kernel, "valid") for c in padded.T], axis=1)
    return smooth.reshape(points.shape).astype(np.float32)


def to_crop(points: np.ndarray) -> np.ndarray:
    """The similarity transforms (T, 2, 3) from pictures to crops, for landmarks (T, 4, 2).

    Turn and scale are the least-squares fit of eyes and nose to the mean face; the mouth comes to
    lie in the middle. Raises ValueError when eyes and nose are in one place.
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


def crop_mouth(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The mouth of each frame, grey, uint8 (T, 96, 96); `points` (T, 4, 2) as from `fill_in`."""
    crops = []
    for frame, transform in zip(frames, to_crop(points), strict=True):
        grey = _grey(frame)
        shrink = int(1 / np.hypot(*transform[:, 0]))
        if shrink > 1:  # a large face: average pixels first, or fine detail becomes false
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


def crop_centre(frames: np.ndarray) -> np.ndarray:
    """The mouth where it is in clips that are face tracks already: a fixed box, (T, 96, 96)."""
    _, height, width = frames.shape[:3]
    left, top, right, bottom = CENTRE_BOX
    x = slice(int(left * width), int(right * width))
    y = slice(int(top * height), int(bottom * height))
    boxes = [_grey(frame)[y, x] for frame in frames]
    return np.stack([cv2.resize(b, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for b in boxes])


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.ndim == 3 else frame


def mouths_of(path: str | Path, backend: str = "mediapipe") -> tuple[np.ndarray, int]:
    """The mouth crops of a media file, uint8 (T, 96, 96), and in how many frames it has a face.

    Raises ValueError when these are less than half, and for media that cannot be read.
    """
    frames = read_frames(path)
    if backend == "centre":
        return crop_centre(frames), len(frames)
    points = find_landmarks(frames, backend)
    try:
        mouth = crop_mouth(frames, fill_in(points))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return mouth, int((~np.isnan(points[:, 0, 0])).sum())


def write_mouth(path: str | Path, mouth: np.ndarray) -> None:
    """Store mouth crops (T, 96, 96) uint8 as grey H.264, beside and renamed; same bytes each time.

    At this quality a pixel is off by 0.9 of 255 grey levels on average, in 450 bytes a frame
    (lossless takes 2,600); writing takes 0.3 ms a frame, reading 0.1 ms. Raises OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    try:
        with av.open(str(beside), "w") as container:
            stream = container.add_stream("libx264", rate=FPS)
            stream.width, stream.height = mouth.shape[2], mouth.shape[1]
            stream.pix_fmt = "gray"
            stream.codec_context.color_range = av.video.reformatter.ColorRange.JPEG  # 0 to 255
            stream.options = STORAGE
            for k, image in enumerate(mouth):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="gray")
                frame.pts, frame.time_base = k, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        beside.replace(path)
    except av.FFmpegError as error:  # such as a full disk; PyAV's errors do not cross processes
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        beside.unlink(missing_ok=True)


def read_mouth(path: str | Path) -> np.ndarray:
    """Mouth crops that `write_mouth` stored, uint8 (T, 96, 96).

    Raises FileNotFoundError, or ValueError for another file and for one that ends early.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist: run stage 1 of the recipe to crop mouths")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            # The luma plane as it is stored; conversion to grey would stretch its contrast.
            planes = [frame.planes[0] for frame in container.decode(stream)]
            images = [np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, :SIZE] for p in planes]
            whole = len(images) == stream.frames and images[0].shape == (SIZE, SIZE)
    except (av.FFmpegError, IndexError):
        whole = False
    if not whole:
        raise ValueError(
            f"{path} is not a whole file of mouth crops: delete it and run stage 1 of the recipe"
        )
    return np.stack(images)

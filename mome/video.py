"""Media files -> mouths: read at 25 frames a second, find the face, crop and store the mouth.

A mouth is (T, 96, 96) uint8, grey. Landmarks (both eyes, nose, mouth) are found in each frame,
filled in where the face was lost, smoothed over time, and a similarity transform takes them to a
mean face: so the mouth stands upright, in the middle and at one size in every clip (AV-HuBERT §A).
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

log = logging.getLogger(__name__)

FPS = 25
SIZE = 96  # pixels, of a crop
BACKENDS = ("mediapipe", "centre")
SMOOTHING = 7  # frames
MIN_FOUND = 0.5  # share of the frames in which a face must be found
# Where left eye, right eye, nose and mouth come to lie in a crop.
MEAN_FACE = np.array([[28, -4], [68, -4], [48, 22], [48, 48]], dtype=np.float32)
# Of a LRS clip, whose face track fills the frame: the mouth's box, in shares of width and height.
CENTRE_BOX = (0.25, 0.48, 0.75, 0.98)  # left, top, right, bottom
# Points of mediapipe's face mesh whose means are the landmarks.
MESH_POINTS = ([33, 133], [362, 263], [1], [61, 291, 0, 17])


def read_frames(path: str | Path, pixels: str = "rgb24") -> np.ndarray:
    """The picture of a media file at 25 frames a second: uint8 (T, H, W, 3), or (T, H, W) grey.

    Other rates are resampled by taking, for each moment, the latest frame. Raises
    FileNotFoundError, or ValueError when there is no picture or it cannot be decoded.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} has no video")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            rate = stream.average_rate or Fraction(FPS)
            frames = [frame.to_ndarray(format=pixels) for frame in container.decode(stream)]
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{path}: its video cannot be decoded ({error})") from error
    if not frames:
        raise ValueError(f"{path} has no video frames")
    if abs(float(rate) - FPS) > 0.01:
        log.debug(f"{path}: video resampled from {float(rate):.2f} to {FPS} frames a second")
        moments = np.arange(round(len(frames) / float(rate) * FPS)) / FPS * float(rate)
        frames = [frames[min(int(m + 1e-6), len(frames) - 1)] for m in moments]
    return np.stack(frames)


def count_frames(path: str | Path) -> int:
    """How many frames `read_frames` gives, without decoding them where the file says."""
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path} has no video")
        stream = container.streams.video[0]
        if stream.frames and abs(float(stream.average_rate or 0) - FPS) < 0.01:
            return stream.frames
    return len(read_frames(path, pixels="gray"))


def find_landmarks(frames: np.ndarray, backend: str = "mediapipe") -> np.ndarray:
    """Left eye, right eye, nose and mouth of each frame: (T, 4, 2) float32, NaN where not found.

    Points are (x, y) in pixels.
    """
    if backend != "mediapipe":
        raise ValueError(f"landmarks are found by mediapipe, not '{backend}'")
    T, height, width, _ = frames.shape
    points = np.full((T, 4, 2), np.nan, dtype=np.float32)
    with _silence(), _face_mesh() as mesh:  # a new one for each clip: it tracks from frame to frame
        for t, frame in enumerate(frames):
            faces = mesh.process(frame).multi_face_landmarks
            if faces:
                landmarks = faces[0].landmark
                for k, group in enumerate(MESH_POINTS):
                    xs = [landmarks[i].x for i in group]
                    ys = [landmarks[i].y for i in group]
                    points[t, k] = np.mean(xs) * width, np.mean(ys) * height
    return points


def _face_mesh():
    from mediapipe.python.solutions.face_mesh import FaceMesh

    return FaceMesh(static_image_mode=False, max_num_faces=1, refine_landmarks=False)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send what native code writes to stderr to nowhere: mediapipe says ten lines for each clip."""
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
    if found.mean() < MIN_FOUND:
        raise ValueError(f"a face was found in {found.sum()} of {len(found)} frames")
    t, known = np.arange(len(points)), np.flatnonzero(found)
    flat = points.reshape(len(points), -1)
    filled = np.stack([np.interp(t, known, flat[known, k]) for k in range(flat.shape[1])], axis=1)
    half = SMOOTHING // 2
    padded = np.pad(filled, ((half, half), (0, 0)), mode="edge")
    kernel = np.ones(SMOOTHING) / SMOOTHING
    smooth = np.stack([np.convolve(c, kernel, "valid") for c in padded.T], axis=1)
    return smooth.reshape(points.shape).astype(np.float32)


def crop_mouth(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The mouth of each frame, grey, uint8 (T, 96, 96); `points` as from `fill_in`."""
    crops = []
    for frame, own in zip(frames, points, strict=True):
        transform, _ = cv2.estimateAffinePartial2D(own, MEAN_FACE, method=cv2.LMEDS)
        if transform is None:
            raise ValueError("the landmarks do not form a face")
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.ndim == 3 else frame
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
    crops = []
    for frame in frames:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.ndim == 3 else frame
        crops.append(cv2.resize(grey[y, x], (SIZE, SIZE), interpolation=cv2.INTER_AREA))
    return np.stack(crops)


def mouths_of(path: str | Path, backend: str = "mediapipe") -> np.ndarray:
    """The mouth crops of a media file, uint8 (T, 96, 96); ValueError when there is no face."""
    frames = read_frames(path)
    if backend == "centre":
        return crop_centre(frames)
    try:
        return crop_mouth(frames, fill_in(find_landmarks(frames, backend)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_mouth(path: str | Path, mouth: np.ndarray) -> None:
    """Store mouth crops as grey H.264 of high quality, beside and renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    try:
        with av.open(str(beside), "w") as container:
            stream = container.add_stream("libx264", rate=FPS)
            stream.width, stream.height = mouth.shape[2], mouth.shape[1]
            stream.pix_fmt = "gray"
            stream.options = {"crf": "12", "preset": "veryfast", "threads": "1"}
            for k, image in enumerate(mouth):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="gray")
                frame.pts, frame.time_base = k, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_mouth(path: str | Path) -> np.ndarray:
    """Mouth crops that `write_mouth` stored, uint8 (T, 96, 96)."""
    return read_frames(path, pixels="gray")

"""Mouth crops on disk: (T, 96, 96) uint8, grey, 25 a second, as small H.264 files.

Shape key: T images of a clip.
"""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mome import files
from mome.data import VIDEO_FPS

SIZE = 96  # width and height of a crop in pixels
# Without lookahead, where x264 reads memory that it has not written: files would differ.
STORAGE = {
    "crf": "16",
    "preset": "veryfast",
    "threads": "1",
    "bf": "0",
    "x264-params": "rc-lookahead=0:no-mbtree=1:scenecut=0",
}


def write(path: str | Path, mouth: np.ndarray) -> None:
    """Store mouth crops (T, 96, 96) uint8 as grey H.264; the same crops give the same bytes.

    At this quality a pixel is off by 0.9 of 255 grey levels on average, in 450 bytes per image
    (lossless takes 2,600); writing takes 0.3 ms per image, reading 0.1 ms. Raises OSError.
    """
    try:
        with (
            files.atomic_write(path) as tmp_path,
            av.open(str(tmp_path), "w", format="mp4") as container,
        ):
            _encode(container, mouth)
    except av.FFmpegError as error:  # such as a full disk; PyAV's errors do not cross processes
        raise OSError(error.errno, error.strerror, str(path)) from None


def read(path: str | Path) -> np.ndarray:
    """Mouth crops that `write` stored, uint8 (T, 96, 96).

    Raises FileNotFoundError, or ValueError for a file of another kind or an incomplete one.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist: run stage 1 of the recipe to crop mouths")
    try:
        with av.open(str(path)) as container:
            images = _decode(container)
            num_images = container.streams.video[0].frames
            complete = len(images) == num_images and images[0].shape == (SIZE, SIZE)
    except (av.FFmpegError, IndexError):
        complete = False
    if not complete:
        raise ValueError(
            f"{path} is not a complete file of mouth crops: delete it and run stage 1 of the recipe"
        )
    return np.stack(images)


def as_stored(mouth: np.ndarray) -> np.ndarray:
    """Mouth crops as `read` gives them back: what an encoder saw when it was trained on files."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        _encode(container, mouth)
    file.seek(0)
    with av.open(file, "r") as container:
        return np.stack(_decode(container))


def _encode(container: av.container.OutputContainer, mouth: np.ndarray) -> None:
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


def _decode(container: av.container.InputContainer) -> list[np.ndarray]:
    """The luma planes as they are stored; a conversion to grey would stretch their contrast."""
    stream = container.streams.video[0]
    stream.thread_type = "NONE"
    planes = [frame.planes[0] for frame in container.decode(stream)]
    return [np.frombuffer(memoryview(p), np.uint8).reshape(p.height, -1)[:, :SIZE] for p in planes]

"""Images and sound as an mp4 file of H.264 and AAC: the same input gives the same bytes."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mome import files

# When x264 looks ahead, it reads memory that it has not written, and the bytes differ.
NO_LOOKAHEAD = {"bf": "0", "x264-params": "rc-lookahead=0:no-mbtree=1:scenecut=0"}
QUALITY = {"crf": "22", "preset": "ultrafast", "threads": "1", **NO_LOOKAHEAD}
AUDIO_BIT_RATE = 64_000  # bits a second
CHUNK = 1024  # samples in an AAC frame


def write(
    path: Path, images: np.ndarray, video_fps: int, waveform: np.ndarray, sample_rate: int
) -> None:
    """Write images (T, H, W, 3), RGB, and a mono 16-bit waveform, whole or not at all."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=video_fps)
        video.height, video.width = images.shape[1:3]
        video.pix_fmt, video.options = "yuv420p", dict(QUALITY)
        audio = container.add_stream("aac", rate=sample_rate)
        audio.layout, audio.bit_rate = "mono", AUDIO_BIT_RATE
        audio.options = {"aac_coder": "fast"}  # the usual one takes as long as a third of the video
        for i, pixels in enumerate(images):
            image = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            image.pts, image.time_base = i, Fraction(1, video_fps)
            container.mux(video.encode(image))
        container.mux(video.encode())
        for start in range(0, len(waveform), CHUNK):
            chunk = np.ascontiguousarray(waveform[None, start : start + CHUNK])
            sound = av.AudioFrame.from_ndarray(chunk, format="s16", layout="mono")
            sound.sample_rate, sound.pts = sample_rate, start
            sound.time_base = Fraction(1, sample_rate)
            container.mux(audio.encode(sound))
        container.mux(audio.encode())
    with files.atomic_write(path) as tmp_path:
        tmp_path.write_bytes(buffer.getvalue())

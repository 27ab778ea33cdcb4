"""Pictures and sound into one mp4: H.264 and AAC, the same bytes for the same input."""

import io
from fractions import Fraction
from pathlib import Path

import numpy as np

# Without looking ahead: for that x264 reads memory it has not written, and two files differ.
NO_LOOKAHEAD = {"bf": "0", "x264-params": "rc-lookahead=0:no-mbtree=1:scenecut=0"}
QUALITY = {"crf": "22", "preset": "veryfast", "threads": "1", **NO_LOOKAHEAD}
AUDIO_BITS = 64_000  # a second
CHUNK = 1024  # samples in an AAC frame


def write(
    path: Path, frames: np.ndarray, frame_rate: int, waveform: np.ndarray, sample_rate: int
) -> None:
    """Write frames (T, H, W, 3), RGB, and a mono 16-bit waveform; atomic."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=frame_rate)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt, video.options = "yuv420p", QUALITY
        audio = container.add_stream("aac", rate=sample_rate)
        audio.layout, audio.bit_rate = "mono", AUDIO_BITS
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, frame_rate)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for start in range(0, len(waveform), CHUNK):
            chunk = np.ascontiguousarray(waveform[None, start : start + CHUNK])
            frame = av.AudioFrame.from_ndarray(chunk, format="s16", layout="mono")
            frame.sample_rate, frame.pts = sample_rate, start
            frame.time_base = Fraction(1, sample_rate)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    write_whole(path, buffer.getvalue())


def write_whole(path: Path, data: bytes) -> None:
    """Write beside, then rename."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_bytes(data)
    beside.replace(path)

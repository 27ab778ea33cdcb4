"""Media files, as `audio` and `video` read them: which stream, when it starts, and what is damaged.

Files of phones and of editing programs have several streams of a kind (another language, a cover
picture), streams that start at different times, edit lists that cut off a part, and errors.
"""

import ctypes
import math
from collections.abc import Iterator
from pathlib import Path

import av
from av.stream import Disposition

from mome.data import VIDEO_FPS

MAX_LOST = 0.1  # share of the frames of a stream that may be damaged or missing
MAX_GAP_S = 10.0  # seconds between two frames; more is an error of the time stamps
SLACK_S = 0.1  # seconds by which the stated duration of a stream may be wrong


def find_stream(container: av.container.InputContainer, kind: str, path: str | Path):
    """The video or audio stream that a player would choose: the first of those marked as default.

    Where none is marked, it is the first one. A cover picture is not a video. Raises ValueError
    when there is no stream of this kind, or when its codec is unknown.
    """
    cover = Disposition.attached_pic
    streams = [s for s in container.streams if s.type == kind and not s.disposition & cover]
    if not streams:
        raise ValueError(f"{path} has no {kind} stream")
    stream = next((s for s in streams if s.disposition & Disposition.default), streams[0])
    if stream.codec_context is None:
        article = "an" if kind == "audio" else "a"
        raise ValueError(f"{path} has {article} {kind} stream of an unknown codec")
    return stream


def start_of(stream: av.VideoStream | av.AudioStream) -> float | None:
    """When a stream starts, in seconds, after its edit list; None when the file does not say."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return float(stream.start_time * stream.time_base)


def check_jump(seconds: float, at: float, path: str | Path) -> None:
    """Raise ValueError when the time stamps of two frames at second `at` lie too far apart."""
    if seconds > MAX_GAP_S:
        raise ValueError(
            f"{path}: its time stamps jump by {seconds:.1f} s at {at:.1f} s, which is more than"
            f" {MAX_GAP_S:g} s: cut the file there"
        )


class Frames:
    """The decoded frames of a stream, one by one. Damaged ones are left out and counted.

    Attributes:
        times: of the packets read so far, in seconds, without those that the edit list cuts off.
        start, end: of the stream so far, in seconds; the start is known from the first frame on.
        num_good: frames given so far.
        num_lost: frames so far that are damaged or missing.
    """

    def __init__(self, container: av.container.InputContainer, stream, path: str | Path):
        self.container, self.stream, self.path = container, stream, path
        self.time_base = float(stream.time_base)
        rate = stream.average_rate if stream.type == "video" else None
        self.step = 1 / float(rate or VIDEO_FPS)  # seconds from frame to frame, if nothing says so
        self.times: list[float] = []
        self.start, self.end = 0.0, -math.inf
        self.num_good = self.num_lost = 0

    def __iter__(self) -> Iterator:
        error, interlaced = None, False
        for packet in self.container.demux(self.stream):
            self._note_time(packet)
            try:
                frames = packet.decode()
            except av.FFmpegError as reason:
                self.num_lost, error = self.num_lost + 1, reason
                continue
            for frame in frames:
                if self.stream.type == "audio":
                    _keep_channel_map(frame.layout)
                if frame.is_corrupt:
                    self.num_lost += 1
                    continue
                if not self.num_good:
                    self._find_start()
                self.num_good += 1
                interlaced |= getattr(frame, "interlaced_frame", False)
                yield frame
        if error and not self.num_good:
            raise error
        if self.stream.type == "video" and not interlaced:  # a packet is a frame, not a half
            self.num_lost = max(self.num_lost, len(self.times) - self.num_good)
        self.num_lost += self._num_cut_off()

    def read_times(self) -> None:
        """Read all packets without decoding them, for `times` and `start`."""
        for packet in self.container.demux(self.stream):
            self._note_time(packet)
        self._find_start()

    def _find_start(self) -> None:
        """A file may say another start than that of its frames, or none."""
        stated = start_of(self.stream)
        self.start = min([*self.times, *([] if stated is None else [stated])], default=0.0)

    def _note_time(self, packet: av.Packet) -> None:
        if not packet.size or packet.is_discard:
            return
        ticks = packet.dts if packet.pts is None else packet.pts
        if ticks is not None:
            self.times.append(ticks * self.time_base)
        else:  # such as those of a raw H.264 stream
            self.times.append(self.times[-1] + self.step if self.times else 0.0)
        self.end = max(self.end, self.times[-1] + (packet.duration or 0) * self.time_base)

    def _num_cut_off(self) -> int:
        """How many frames are missing at the end of an mp4 file that was not copied as a whole."""
        states_duration = "mp4" in self.container.format.name.split(",") and self.stream.duration
        if not states_duration or not self.times:
            return 0
        begin = min(self.times)
        missing = self.stream.duration * self.time_base - (self.end - begin)
        step = (self.end - begin) / len(self.times)
        return round(missing / step) if missing > SLACK_S and step > 0 else 0

    def check(self) -> str:
        """What is lost, in words; "" when nothing is. Raises ValueError when it is too much."""
        if not self.num_lost:
            return ""
        total = self.num_good + self.num_lost
        what = "images" if self.stream.type == "video" else "pieces of sound"
        text = f"{self.num_lost} of {total} {what} are damaged or missing"
        if self.num_lost > MAX_LOST * total:
            raise ValueError(
                f"{self.path}: {text}; at most {100 * MAX_LOST:g}% may be: copy it again"
            )
        return text


def _keep_channel_map(layout: av.AudioLayout) -> None:
    """Let a layout with a channel map live for ever: PyAV 18 would free its map a second time.

    Such a layout has its channels in an unusual order. The process would die.
    """
    if " channels (" in layout.name:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))

"""A recording of any kind and length as a recogniser needs it: its sound, a face, and its pieces.

Anything that FFmpeg decodes is accepted, but for playlists, which name other files. Memory grows by
64 kB for each second of sound; the images are read twice and never kept (mome/data/faces.py).

Shape key: T moments of 40 ms, 25 a second.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.stream import Disposition

from mome.data import VIDEO_FPS, audio, pauses

PLAYLISTS = {"hls", "dash", "concat", "concatf", "applehttp", "imf", "sdp", "rtsp"}  # of FFmpeg
MOST_APART = 2  # moments by which the streams of a clip may differ, as in stage 2
MOST_UNSEEN = 0.5  # share of a piece without the face, above which its video is not read


class Face(Protocol):
    """A face in a video: `FaceTrack` of mome/data/faces.py."""

    @property
    def num_images(self) -> int:
        """Of the video."""

    @property
    def num_faces(self) -> int:
        """How many are seen steadily."""

    @property
    def lost(self) -> str:
        """What is damaged, in words."""

    @property
    def present(self) -> np.ndarray:
        """In which images it is seen, (num_images,) bool."""

    def crops(self) -> Iterator[np.ndarray]:
        """The mouth in each image, (n, 96, 96) uint8 for a few images at a time."""


@dataclass(frozen=True)
class Piece:
    """A part of a recording that is recognised by itself.

    Attributes:
        start, end: seconds.
        sound: (n,) at 16 kHz, or None.
        mouth: (T, 96, 96) uint8, or None.
    """

    start: float
    end: float
    sound: np.ndarray | None
    mouth: np.ndarray | None


@dataclass(frozen=True)
class Recording:
    """The sound and the face of a file.

    Attributes:
        path: the file.
        num_moments: T.
        sound: (n,) at 16 kHz, or None when there is none to be heard.
        face: the face to read, or None.
        warnings: what is missing, in words.
    """

    path: Path
    num_moments: int
    sound: np.ndarray | None
    face: Face | None
    warnings: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.num_moments / VIDEO_FPS

    def pieces(self, most_s: float) -> Iterator[Piece]:
        """The recording in pieces of at most `most_s` seconds, cut at pauses.

        Without sound, it is cut where the mouth moves least. Images are read as they are needed.
        Raises ValueError when they cannot be read.
        """
        most = max(1, round(most_s * VIDEO_FPS))
        crops = Crops(self.face) if self.face else None
        if self.sound is None:
            yield from self._cut_by_mouth(crops, most) if crops else ()
            return
        for first, end in pauses.cut(pauses.levels(self.sound), most):
            samples = self.sound[first * pauses.MOMENT : end * pauses.MOMENT]
            mouth = None
            if self.face and crops:  # the streams of a clip seldom end at the same moment
                at_end = abs(self.face.num_images - end) <= MOST_APART
                mouth = crops.take(first, self.face.num_images if at_end else end)
            yield Piece(first / VIDEO_FPS, end / VIDEO_FPS, samples, mouth)

    def _cut_by_mouth(self, crops: "Crops", most: int) -> Iterator[Piece]:
        """Pieces of a video without sound; those in which the face is away are left out."""
        assert self.face is not None
        for first, end in pauses.stretches(self.face.present, 0):
            while first < end:
                last = min(first + most, end)
                mouth = crops.take(first, last)
                assert mouth is not None, "the face is there in all of the stretch"
                if last < end:
                    move = np.abs(np.diff(mouth.astype(np.int16), axis=0)).mean(axis=(1, 2))
                    last = first + pauses.lowest(np.append(move, move[-1:]))
                    crops.put_back(mouth[last - first :])
                    mouth = mouth[: last - first]
                yield Piece(first / VIDEO_FPS, last / VIDEO_FPS, None, mouth)
                first = last


class Crops:
    """The crops of a face from its beginning to its end, taken in order."""

    def __init__(self, face: Face):
        self.present, self.chunks = face.present, face.crops()
        self.buffer = np.zeros((0, 96, 96), dtype=np.uint8)
        self.begin = 0  # the moment of the first one in `buffer`

    def take(self, first: int, end: int) -> np.ndarray | None:
        """The crops from moment `first` to `end`, (end - first, 96, 96); those before are skipped.

        The last crop is repeated after the end of the video. None when the face is away for more
        than MOST_UNSEEN of the time.
        """
        while self.begin + len(self.buffer) < end:
            chunk = next(self.chunks, None)
            if chunk is None:
                break
            self.buffer = np.concatenate([self.buffer, chunk])
            self._drop(first)
        self._drop(first)
        found = self.buffer[: end - first]
        self._drop(end)
        if not len(found) or self.present[first:end].sum() < MOST_UNSEEN * (end - first):
            return None
        return np.pad(found, ((0, end - first - len(found)), (0, 0), (0, 0)), mode="edge")

    def _drop(self, moment: int) -> None:
        """Forget the crops before a moment."""
        count = min(max(moment - self.begin, 0), len(self.buffer))
        self.buffer, self.begin = self.buffer[count:], self.begin + count

    def put_back(self, mouth: np.ndarray) -> None:
        """Take back the last crops that `take` has given."""
        self.buffer, self.begin = np.concatenate([mouth, self.buffer]), self.begin - len(mouth)


def read(
    path: str | Path, streams: list[str], read_face: Callable[[Path], Face | None]
) -> Recording:
    """Read a file.

    Args:
        streams: "audio", "video": what the recogniser uses.
        read_face: gives the face in a video, or None when there is none to be read.

    Raises FileNotFoundError, or ValueError for a file that cannot be read, is no recording, is
    damaged, or has none of the streams.
    """
    path = Path(path)
    kinds = kinds_of(path)
    warnings, sound, track = [], None, None
    if "audio" in streams:
        if "audio" not in kinds:
            warnings.append("it has no sound")
        else:
            sound = audio.read(path)
            if not np.isfinite(sound).all():
                raise ValueError(f"{path}: its sound has values that are not finite")
            if audio.is_silent(sound):
                warnings.append("its sound is silent")
                sound = None
    if "video" in streams:
        if "video" not in kinds:
            warnings.append("it has no video")
        elif not (track := read_face(path)):
            warnings.append("no face is seen long enough")
        elif track.num_faces > 1:
            warnings.append(f"{track.num_faces} faces are seen, and one is read (--face)")
        if track and track.lost:
            warnings.append(track.lost)
    if not track and ("audio" not in streams or "audio" not in kinds):
        raise ValueError(f"{path} cannot be transcribed: {'; '.join(warnings)}")
    num_moments = track.num_images if track else 0
    if sound is not None:
        if num_moments > len(sound) / pauses.MOMENT + MOST_APART:  # the sound ends early
            sound = np.pad(sound, (0, num_moments * pauses.MOMENT - len(sound)))
        num_moments = -(-len(sound) // pauses.MOMENT)
    return Recording(path, num_moments, sound, track, warnings)


def kinds_of(path: Path) -> set[str]:
    """Which streams a file has: "audio", "video"; a cover picture is not a video.

    Raises FileNotFoundError, or ValueError when it cannot be read or is no recording.
    """
    try:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        if not path.is_file():
            raise ValueError(f"{path} is not a file")
        if not path.stat().st_size:
            raise ValueError(f"{path} is empty")
        path.open("rb").close()
    except OSError as error:
        if error.errno is None:
            raise
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    try:
        # A playlist may name files of the network.
        options = {"protocol_whitelist": "file"}
        with av.open(str(path), options=options, metadata_errors="replace") as container:
            if PLAYLISTS & set(container.format.name.split(",")):
                raise ValueError(f"{path} is a playlist: give the media files themselves")
            return {
                stream.type
                for stream in container.streams
                if not stream.disposition & Disposition.attached_pic
            }
    except av.FFmpegError as error:
        raise ValueError(f"{path} is no recording that can be read ({error.strerror})") from None

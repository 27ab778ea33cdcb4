"""The face to read in a video of any length, with any number of faces, and the crops of its mouth.

The video is read twice. The first time, all faces are found and followed from image to image; only
their landmarks are kept. Then one is chosen, and the second time its mouth is cropped, as stage 1
does (mome/data/mouths.py). So no more than a few images are in memory.

Shape key: T images at 25 a second.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from mome.data import VIDEO_FPS, landmarks, mouths, pauses, video

MOST_FACES = 5  # that are followed at once
REACH = 0.7  # of the size of a face: how far it may move from one image to the next
MOST_APART = 25  # images for which a face may be lost and its landmarks are interpolated
STEADY = 0.2  # share of the images of the longest track that a track needs to be chosen
SAME_SIDE = 3.0  # sizes by which such a face may be to the left or right of the chosen one
SIMILAR = 0.5  # a face that comes instead of the chosen one is at least this share of its size
CHUNK = 16  # images that are cropped at once
Track = dict[int, np.ndarray]  # landmarks (4, 2) of a face by the number of the image
LONGEST_GAP_S = 60.0  # without an image, in which the last one is repeated


def images(path: str | Path) -> Iterator[np.ndarray]:
    """The images of a media file at 25 a second, RGB, one after the other: at each moment k / 25 s
    the one that is nearest in time.

    Raises FileNotFoundError, or ValueError when the file has no video or cannot be decoded.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist")
    convert, count = VideoReformatter(), 0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = video._video_stream(container, path)
            stream.thread_type = "NONE"
            for frame, repeats in _nearest(container.decode(stream), stream, path):
                image = video._pixels_of(frame, "rgb24", convert)
                for _ in range(repeats):
                    yield image
                    count += 1
    except av.FFmpegError as error:
        raise ValueError(f"{path}: its video cannot be decoded ({error.strerror})") from None
    if not count:
        raise ValueError(f"{path} has a video stream without images")


def _nearest(
    frames: Iterator[av.VideoFrame], stream: av.VideoStream, path: str | Path
) -> Iterator[tuple[av.VideoFrame, int]]:
    """Each decoded frame that is nearest to some moment k / 25 s, and to how many of them.

    The last frame is shown as long as the mean of all.
    """
    rate = float(stream.average_rate or VIDEO_FPS)
    last, last_time, start, count, done = None, 0.0, None, 0, 0
    for frame in frames:
        time = count / rate if frame.time is None else frame.time
        start = time if start is None else start
        time, count = time - start, count + 1
        if last is not None:
            if time <= last_time:
                continue
            if time - last_time > LONGEST_GAP_S:
                raise ValueError(
                    f"{path}: {time - last_time:.0f} s without an image follow {last_time:.2f} s"
                )
            upto = math.ceil((last_time + time) / 2 * VIDEO_FPS - 1e-6)
            if upto > done:
                yield last, upto - done
                done = upto
        last, last_time = frame, time
    if last is not None:
        duration = last_time * count / (count - 1) if count > 1 else 1 / VIDEO_FPS
        upto = max(done + (done == 0), round(duration * VIDEO_FPS))
        if upto > done:
            yield last, upto - done


# ---- find and follow ----------------------------------------------------------------------------


def find(path: str | Path, every: int = 1) -> tuple[list[list[np.ndarray]], int]:
    """The landmarks (4, 2) of all faces in each `every`-th image, and the number of all images.

    Landmarks are those of `mome.data.landmarks`, from mediapipe. Raises as `video.read_images`.
    """
    found: list[list[np.ndarray]] = []
    t = -1
    mesh = None
    for t, image in enumerate(images(path)):
        if t % every:
            continue
        with landmarks._silent_stderr():
            if mesh is None:
                mesh = _mesh()
                mesh.reset()  # forget the last video
            faces = mesh.process(image).multi_face_landmarks or []
        size = np.array([image.shape[1], image.shape[0]], dtype=np.float32)
        found.append([_points_of(face.landmark) * size for face in faces])
    return found, t + 1


@functools.cache
def _mesh() -> Any:
    from mediapipe.python.solutions.face_mesh import FaceMesh

    return FaceMesh(static_image_mode=False, max_num_faces=MOST_FACES, refine_landmarks=False)


def _points_of(mesh: Any) -> np.ndarray:
    """The landmarks of a face of mediapipe, (4, 2) in shares of width and height."""
    return np.array(
        [
            np.mean([(mesh[i].x, mesh[i].y) for i in group], axis=0)
            for group in landmarks.MESH_POINTS
        ],
        dtype=np.float32,
    )


def follow(found: list[list[np.ndarray]]) -> list[Track]:
    """The tracks of the faces that `find` found.

    A face in an image continues the nearest track that was seen at most MOST_APART images before
    and is not further away than REACH times its size.
    """
    tracks: list[Track] = []
    last: dict[int, int] = {}  # when a track was last seen
    for t, faces in enumerate(found):
        last = {k: when for k, when in last.items() if t - when <= MOST_APART}
        pairs = [
            (distance(face, tracks[k][when]), i, k)
            for i, face in enumerate(faces)
            for k, when in last.items()
        ]
        track_of: dict[int, int] = {}
        for apart, i, k in sorted(pairs):
            if apart <= REACH and i not in track_of and k not in track_of.values():
                track_of[i] = k
        for i, face in enumerate(faces):
            if i not in track_of:
                track_of[i] = len(tracks)
                tracks.append({})
            tracks[track_of[i]][t] = face
            last[track_of[i]] = t
    return tracks


def distance(face: np.ndarray, other: np.ndarray) -> float:
    """How far a face lies from another one, in sizes of that one."""
    return float(np.linalg.norm(face.mean(axis=0) - other.mean(axis=0))) / size_of(other)


def size_of(face: np.ndarray) -> float:
    """The distance in pixels from the middle of the eyes to the mouth, or between the eyes."""
    eyes = face[:2].mean(axis=0)
    return float(max(np.linalg.norm(face[3] - eyes), np.linalg.norm(face[1] - face[0]), 1.0))


# ---- choose -------------------------------------------------------------------------------------


def choose(tracks: list[Track], which: str = "largest") -> Track:
    """The landmarks of one face; {} when there is no face.

    Args:
        which: "largest", the one with the largest sum of areas over the images; "left" or "right";
            or a number, counted from 1 on the left. The last three look at steady faces alone,
            those that are seen in at least STEADY times as many images as the most seen one.

    Where the chosen face is away, one of similar size that is not seen together with it takes its
    place: a face that comes back is another track. Raises ValueError for a number without a face.
    """
    if not tracks:
        return {}
    sizes = [float(np.median([size_of(face) for face in track.values()])) for track in tracks]
    areas = [len(track) * size**2 for track, size in zip(tracks, sizes, strict=True)]
    most = max(map(len, tracks))
    steady = [k for k, track in enumerate(tracks) if len(track) >= STEADY * most]
    from_left = sorted(steady, key=lambda k: place_of(tracks[k]))
    if which == "largest":
        first = int(np.argmax(areas))
    elif which in ("left", "right"):
        first = from_left[0 if which == "left" else -1]
    elif which.isdecimal() and 1 <= int(which) <= len(from_left):
        first = from_left[int(which) - 1]
    else:
        raise ValueError(
            f"there is no face {which!r}, since {len(from_left)} are seen steadily: give largest,"
            " left, right or a number, counted from 1 on the left"
        )
    chosen = dict(tracks[first])
    for k in sorted(range(len(tracks)), key=lambda k: -areas[k]):
        apart = abs(place_of(tracks[first]) - place_of(tracks[k]))
        near = which == "largest" or apart < SAME_SIDE * sizes[first]
        if sizes[k] >= SIMILAR * sizes[first] and near and not tracks[k].keys() & chosen.keys():
            chosen |= tracks[k]
    return chosen


def place_of(track: Track) -> float:
    """Where a face is seen, from left to right, in pixels."""
    return float(np.mean([face[:, 0].mean() for face in track.values()]))


# ---- crop ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FaceTrack:
    """The mouth of one face in a video.

    Attributes:
        path: the video.
        num_images: T.
        seen: (first image, end, landmarks (end - first, 4, 2), filled and smoothed) of each stretch
            in which the face is seen, in order.
        num_faces: how many faces are seen steadily.
    """

    path: Path
    num_images: int
    seen: list[tuple[int, int, np.ndarray]]
    num_faces: int = 1

    @property
    def present(self) -> np.ndarray:
        """In which images the face is seen or its landmarks are interpolated, (T,) bool."""
        mask = np.zeros(self.num_images, dtype=bool)
        for first, end, _ in self.seen:
            mask[first:end] = True
        return mask

    def crops(self) -> Iterator[np.ndarray]:
        """The mouth in each image, grey, uint8 (n, 96, 96) for a few images at a time, T in all.

        It is black where the face is away.
        """
        points = np.full((self.num_images, 4, 2), np.nan, dtype=np.float32)
        for first, end, filled in self.seen:
            points[first:end] = filled
        chunk: list[np.ndarray] = []
        done = 0
        for image in images(self.path):
            chunk.append(image)
            if len(chunk) == CHUNK:
                yield crop(chunk, points[done : done + CHUNK])
                done, chunk = done + len(chunk), []
        if chunk:
            yield crop(chunk, points[done : done + len(chunk)])


def crop(chunk: list[np.ndarray], points: np.ndarray) -> np.ndarray:
    """The mouths (n, 96, 96) of n images with landmarks (n, 4, 2); black where they are NaN."""
    mouth = np.zeros((len(chunk), mouths.crops.SIZE, mouths.crops.SIZE), dtype=np.uint8)
    known = np.flatnonzero(~np.isnan(points[:, 0, 0]))
    if len(known):
        mouth[known] = mouths.crop_mouth(np.stack([chunk[k] for k in known]), points[known])
    return mouth


def read(path: str | Path, which: str = "largest", every: int = 1) -> FaceTrack | None:
    """The chosen face of a video, or None when no face is seen long enough to be read.

    `which` is as for `choose`; landmarks are found in each `every`-th image and interpolated.
    Raises FileNotFoundError, or ValueError for a video that cannot be read.
    """
    landmarks.check_installed("mediapipe")
    found, num_images = find(path, every)
    tracks = follow(found)
    points = np.full((len(found), 4, 2), np.nan, dtype=np.float32)
    for t, face in choose(tracks, which).items():
        points[t] = face
    points = mouths.between(points, every, num_images)
    seen = []
    for first, end in pauses.stretches(~np.isnan(points[:, 0, 0]), MOST_APART):
        first = 0 if first <= MOST_APART else first
        end = num_images if num_images - end <= MOST_APART else end
        try:
            filled = mouths.fill_in(points[first:end])
            mouths.to_crop(filled)
        except ValueError:  # seen in too few images, or not a face
            continue
        seen.append((first, end, filled))
    steady = [track for track in tracks if len(track) >= STEADY * max(map(len, tracks))]
    return FaceTrack(Path(path), num_images, seen, len(steady)) if seen else None

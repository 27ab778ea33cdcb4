"""The face to read in a video of any length, with any number of faces, and the crops of its mouth.

The video is read twice. The first time, all faces are found and followed from image to image; only
their landmarks are kept. Then one is chosen, and the second time its mouth is cropped, as stage 1
does (mome/data/mouths.py). So no more than a few images are in memory.

Shape key: T images at 25 a second.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mome.data import landmarks, mouths, pauses, video

MOST_FACES = 5  # that are followed at once
REACH = 0.7  # of the size of a face: how far it may move from one image to the next
MOST_APART = 25  # images for which a face may be lost and its landmarks are interpolated
STEADY = 0.2  # share of the images of the longest track that a track needs to be chosen
SAME_SIDE = 3.0  # sizes by which such a face may be to the left or right of the chosen one
SIMILAR = 0.5  # a face that comes instead of the chosen one is at least this share of its size
CHUNK = 16  # images that are cropped at once
Track = dict[int, np.ndarray]  # landmarks (4, 2) of a face by the number of the image


# ---- find and follow ----------------------------------------------------------------------------


def follow(found: list[list[np.ndarray]]) -> list[Track]:
    """The tracks of the faces that `landmarks.find_faces` found in each image.

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
    down, across = face[3] - face[:2].mean(axis=0), face[1] - face[0]
    return max(float(np.linalg.norm(down)), float(np.linalg.norm(across)), 1.0)


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
        lost: how many images are damaged or missing, in words; "" when none is.
    """

    path: Path
    num_images: int
    seen: list[tuple[int, int, np.ndarray]]
    num_faces: int = 1
    lost: str = ""

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
        for image in video.ImageReader(self.path):
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
    reader = video.ImageReader(path)
    sampled = (image for t, image in enumerate(reader) if t % every == 0)
    found = landmarks.find_faces(sampled, MOST_FACES)
    tracks, num_images = follow(found), reader.num_images
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
    return FaceTrack(Path(path), num_images, seen, len(steady), reader.lost) if seen else None

"""Landmarks of a face: both eyes, the base of the nose and the mouth, in each image of a clip.

Two backends find them. mediapipe's face mesh tracks one face from image to image. MTCNN (Zhang et
al. 2016, the implementation of facenet-pytorch) looks at each image alone. Their packages are
imported when they are first used, because PyTorch, which MTCNN needs, takes seconds to import.

Shape key: T images of a clip, H, W pixels, N faces in an image.
"""

import contextlib
import functools
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

# Points of mediapipe's face mesh whose means are the landmarks: eyes, base of the nose, mouth.
MESH_POINTS = ([33, 133], [362, 263], [98, 97, 2, 326, 327], [61, 291, 0, 17])

NO_FACE = np.full((4, 2), np.nan)
BATCH = 16  # images that MTCNN gets at once
SMALLEST = 1 / 6  # of the shorter side of an image: MTCNN ignores smaller faces
MIN_PROBABILITY = 0.9  # of a face
# From MTCNN's five points to the landmarks of mediapipe. On three real speakers the two agree to
# one pixel of a mouth crop, at the nose to two.
FROM_FIVE = np.array(
    [
        [1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 0, 0.7, 0.15, 0.15],  # the base of the nose is below its tip
        [0, 0, -0.05, 0.525, 0.525],  # the middle of the lips is below the line of the corners
    ]
)


def find(images: Iterable[np.ndarray], backend: str = "mediapipe") -> np.ndarray:
    """Left eye, right eye, base of the nose and mouth in each of T RGB images (H, W, 3).

    The images are read once, in order, and may come from a generator.
    Returns points (x, y) in pixels, (T, 4, 2) float32; the left eye is the left one in the image.
    They are NaN where no face was found. Raises ValueError for an unknown backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"landmarks are found by {' or '.join(BACKENDS)}, not '{backend}'")
    return BACKENDS[backend].find(images)


def check_installed(backend: str) -> None:
    """Raise ValueError with the command to run when a backend's packages are not installed."""
    _, modules, install = BACKENDS[backend]
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise ValueError(f"landmarks by {backend} need {names}, which is missing: run {install}")


# ---- mediapipe ----------------------------------------------------------------------------------


def find_by_mediapipe(images: Iterable[np.ndarray]) -> np.ndarray:
    """As `find`."""
    points: list[np.ndarray] = []
    for image in images:  # reading them is not silenced: it may log
        with _silent_stderr():
            mesh = _face_mesh()
            if not points:
                mesh.reset()  # it tracks from image to image: forget the last clip
            faces = mesh.process(image).multi_face_landmarks
        points.append(_of_mesh(faces[0].landmark, *image.shape[1::-1]) if faces else NO_FACE)
    return np.array(points, dtype=np.float32).reshape(-1, 4, 2)


def _of_mesh(mesh: Sequence, width: int, height: int) -> np.ndarray:
    """The landmarks (4, 2) of a face, from the points of mediapipe's mesh."""
    groups = [[mesh[i] for i in group] for group in MESH_POINTS]
    return np.array(
        [[sum(p.x for p in group) * width, sum(p.y for p in group) * height] for group in groups]
    ) / [[len(group)] for group in groups]


def find_faces(images: Iterable[np.ndarray], most: int) -> list[list[np.ndarray]]:
    """The landmarks (4, 2) of up to `most` faces in each of T images, in no order; by mediapipe."""
    found: list[list[np.ndarray]] = []
    for t, image in enumerate(images):
        with _silent_stderr():
            mesh = _face_mesh(most)
            if t == 0:
                mesh.reset()
            faces = mesh.process(image).multi_face_landmarks or []
        height, width = image.shape[:2]
        found.append([_of_mesh(face.landmark, width, height) for face in faces])
    return found


@functools.cache
def _face_mesh(most: int = 1) -> Any:
    """One for the process: after reset() it gives the same points as a new one, 19 % faster."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    return FaceMesh(static_image_mode=False, max_num_faces=most, refine_landmarks=False)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what native code writes to stderr.

    mediapipe writes five lines for each graph that it starts, before a log level can be set; with
    thousands of clips they would hide everything else. Its errors are exceptions and are not lost.
    """
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


# ---- MTCNN --------------------------------------------------------------------------------------


def find_by_mtcnn(images: Iterable[np.ndarray]) -> np.ndarray:
    """As `find`."""
    return (FROM_FIVE @ five_points(images)).astype(np.float32)


def five_points(images: Iterable[np.ndarray]) -> np.ndarray:
    """MTCNN's points of one face in each of T images (H, W, 3): (T, 5, 2) float32 or NaN.

    They are left and right eye, tip of the nose, left and right corner of the mouth, as seen. Of
    several faces, a large one near the place of the last face is chosen; at first, near the middle
    of the image.
    """
    points, place = [], None
    images = iter(images)
    while batch := list(itertools.islice(images, BATCH)):
        if place is None:
            place = np.array(batch[0].shape[1::-1]) / 2
        for boxes, probabilities, faces in zip(*_detect(np.stack(batch)), strict=True):
            points.append(np.full((5, 2), np.nan))
            if boxes is None or max(probabilities) < MIN_PROBABILITY:
                continue
            boxes, probabilities = np.asarray(boxes, float), np.asarray(probabilities, float)
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2
            score = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
            score -= 2 * ((centres - place) ** 2).sum(axis=1)
            best = np.where(probabilities < MIN_PROBABILITY, -np.inf, score).argmax()
            points[-1], place = faces[best], centres[best]
    return np.array(points, dtype=np.float32).reshape(-1, 5, 2)


def _detect(images: np.ndarray) -> tuple:
    """Of each image: boxes (N, 4), probabilities (N,) and points (N, 5, 2), or None, of its faces.

    facenet-pytorch fails on tiny images and on candidates outside of an image (its issues 176 and
    182). The images of such a batch are tried one by one; the one at fault has no face.
    """
    detector = _mtcnn()
    detector.min_face_size = max(20, int(SMALLEST * min(images.shape[1:3])))
    try:
        return detector.detect(images, landmarks=True)
    except (IndexError, RuntimeError, ValueError) as error:
        if not any(words in str(error) for words in ("shape of the mask", "non-empty list")):
            raise
    if len(images) == 1:
        return [None], [None], [None]
    one_by_one = zip(*(_detect(image[None]) for image in images), strict=True)
    return tuple([found[0] for found in kind] for kind in one_by_one)


@functools.cache
def _mtcnn() -> Any:
    """The detector of this process.

    facenet-pytorch imports torchvision, which must be built for exactly the installed PyTorch. Its
    detector needs only one function of torchvision; stand-ins with our own take its place during
    the import, so torchvision need not be installed.
    """
    stand_ins = {name: ModuleType(name) for name in ("torchvision", "torchvision.transforms")}
    stand_ins["torchvision.transforms"].__dict__["functional"] = None  # used to cut out faces only
    stand_ins["torchvision.ops.boxes"] = ModuleType("torchvision.ops.boxes")
    stand_ins["torchvision.ops.boxes"].__dict__["batched_nms"] = suppress_overlaps
    with mock.patch.dict(sys.modules, stand_ins):
        from facenet_pytorch import MTCNN

        imported = {name: m for name, m in sys.modules.items() if name not in stand_ins}
    sys.modules.update(imported)
    return MTCNN(keep_all=True)


def suppress_overlaps(
    boxes: "Tensor", scores: "Tensor", images: "Tensor", max_overlap: float
) -> "Tensor":
    """Non-maximum suppression in each image: which of the boxes (N, 4) to keep, best first.

    Does what `torchvision.ops.batched_nms` does. `images` (N,) says to which image a box belongs.
    """
    import cv2
    import torch

    rectangles = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
    kept = cv2.dnn.NMSBoxesBatched(
        rectangles.tolist(), scores.tolist(), images.tolist(), 0.0, max_overlap
    )
    return torch.as_tensor(np.array(kept), dtype=torch.long)


# ---- the backends -------------------------------------------------------------------------------


class Backend(NamedTuple):
    """One way to find landmarks.

    Attributes:
        find: from T images (H, W, 3) to points (T, 4, 2).
        modules: what must be importable.
        install: the command that installs them.
    """

    find: Callable[[Iterable[np.ndarray]], np.ndarray]
    modules: tuple[str, ...]
    install: str


BACKENDS = {
    "mediapipe": Backend(find_by_mediapipe, ("mediapipe",), "tools/install.sh"),
    "mtcnn": Backend(
        find_by_mtcnn,
        ("facenet_pytorch", "requests", "PIL"),
        "pip install requests pillow && pip install --no-deps facenet-pytorch==2.6.0",
    ),
}
METHODS = (*BACKENDS, "centre")  # of cropping: by landmarks, or a fixed box in the middle

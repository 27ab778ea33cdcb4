"""MTCNN (Zhang et al. 2016), of facenet-pytorch: eyes, nose and corners of the mouth of a face.

Of facenet-pytorch only the three small networks are used; torchvision, which it imports, is not
needed: an installation has to fit torch to the letter, and OpenCV removes overlapping boxes, too.
"""

import functools
import sys
from types import ModuleType
from unittest import mock

import cv2
import numpy as np
import torch
from torch import Tensor

BATCH = 16  # frames
SMALLEST = 1 / 6  # of the shorter side: smaller faces are passed by
SURE = 0.9  # probability of a face
# Its five points -> eyes, base of the nose and middle of the lips, as mediapipe sees them: on three
# real speakers to a crop's pixel, of the nose to two.
FROM_FIVE = np.array(
    [
        [1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 0, 0.7, 0.15, 0.15],  # the base of the nose is below its tip
        [0, 0, -0.05, 0.525, 0.525],  # the middle of the lips is below the line of the corners
    ]
)


def landmarks_of(five: np.ndarray) -> np.ndarray:
    """Left eye, right eye, base of the nose, mouth (T, 4, 2) float32, of points as `find` gives."""
    return (FROM_FIVE @ five).astype(np.float32)


def find(frames: np.ndarray) -> np.ndarray:
    """The points of one face in each of (T, H, W, 3) frames: (T, 5, 2) float32, NaN without one.

    Left and right eye, tip of the nose, left and right corner of the mouth, left as seen. Of
    several faces the one that is large and in the middle, then the one that is large and near it.
    """
    points = np.full((len(frames), 5, 2), np.nan, dtype=np.float32)
    middle = np.array([frames.shape[2] / 2, frames.shape[1] / 2])
    for begin in range(0, len(frames), BATCH):
        found = detect(frames[begin : begin + BATCH])
        for t, (boxes, chances, faces) in enumerate(zip(*found, strict=True), start=begin):
            if boxes is None or max(chances) < SURE:
                continue
            boxes, chances = np.asarray(boxes, float), np.asarray(chances, float)
            middles = (boxes[:, :2] + boxes[:, 2:]) / 2
            worth = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
            worth -= 2 * ((middles - middle) ** 2).sum(axis=1)
            best = np.where(chances < SURE, -np.inf, worth).argmax()
            points[t], middle = faces[best], middles[best]
    return points


def detect(frames: np.ndarray) -> tuple:
    """Boxes (N, 4), probabilities (N,) and points (N, 5, 2) of N faces of each frame, or None."""
    detector = load()
    detector.min_face_size = max(20, int(SMALLEST * min(frames.shape[1:3])))
    try:
        return detector.detect(frames, landmarks=True)
    except (IndexError, RuntimeError, ValueError) as error:
        # A tiny picture, or a candidate outside of its picture: facenet-pytorch, issues 176, 182.
        if not any(words in str(error) for words in ("shape of the mask", "non-empty list")):
            raise
    if len(frames) == 1:
        return [None], [None], [None]
    one_by_one = zip(*(detect(frame[None]) for frame in frames), strict=True)
    return tuple([found[0] for found in kind] for kind in one_by_one)


@functools.cache
def load():
    """The detector of this process."""
    fakes = {name: ModuleType(name) for name in ("torchvision", "torchvision.transforms")}
    fakes["torchvision.transforms"].functional = None  # makes tensors of cut faces: not called
    fakes["torchvision.ops.boxes"] = ModuleType("torchvision.ops.boxes")
    fakes["torchvision.ops.boxes"].batched_nms = without_overlap
    with mock.patch.dict(sys.modules, fakes):
        from facenet_pytorch import MTCNN

        imported = {name: m for name, m in sys.modules.items() if name not in fakes}
    sys.modules.update(imported)
    return MTCNN(keep_all=True)


def without_overlap(boxes: Tensor, scores: Tensor, pictures: Tensor, overlap: float) -> Tensor:
    """Which boxes (N, 4) stay when, in each picture, the better of two that overlap is kept.

    As `torchvision.ops.batched_nms`: (M,), best first.
    """
    rectangles = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
    kept = cv2.dnn.NMSBoxesBatched(
        rectangles.tolist(), scores.tolist(), pictures.tolist(), 0.0, overlap
    )
    return torch.as_tensor(np.array(kept), dtype=torch.long)

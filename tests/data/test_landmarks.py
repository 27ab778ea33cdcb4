"""Landmarks by MTCNN: with a detector that is made up, with the real one where it is installed."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mome.data import landmarks, video
from mome.synthesis.face import Face
from mome.synthesis.visemes import Mouth

installed = pytest.mark.skipif(
    importlib.util.find_spec("facenet_pytorch") is None, reason="facenet-pytorch is not installed"
)
# A folder of clips of real speakers, which are not part of the project.
REAL_CLIPS = os.environ.get("MOME_REAL_CLIPS")
LIPS = [61, 291, 0, 17, 13, 14, 37, 267, 84, 314]  # of mediapipe's mesh: corners, above, below

FIVE = np.array([[80, 90], [140, 90], [110, 120], [88, 160], [132, 160]], np.float32)
FRAMES = np.zeros((4, 240, 220, 3), np.uint8)


class MadeUp:
    """A detector that knows which faces a frame has: the first pixel is the frame's number."""

    def __init__(self, faces: list[list[tuple[int, int, float]]]):
        self.faces = faces  # of each frame: how far right a face is, its width, its probability

    def detect(self, frames, landmarks):
        assert landmarks
        boxes, chances, points = [], [], []
        for frame in frames:
            faces = self.faces[frame[0, 0, 0]]
            spans = [
                (110 + x - w / 2, 120 - w / 2, 110 + x + w / 2, 120 + w / 2) for x, w, _ in faces
            ]
            boxes.append(np.array(spans) if faces else None)
            chances.append([p for *_, p in faces] or [None])
            points.append(np.stack([FIVE + np.array([x, 0]) for x, *_ in faces]) if faces else None)
        return boxes, chances, points


def find_in(monkeypatch, faces: list[list[tuple[int, int, float]]]) -> np.ndarray:
    """Landmarks (T, 4, 2) of a clip with these faces."""
    frames = np.repeat(FRAMES[:1], len(faces), axis=0)
    frames[:, 0, 0, 0] = range(len(faces))
    monkeypatch.setattr(landmarks, "load", lambda: MadeUp(faces))
    return video.find_landmarks(frames, "mtcnn")


def test_five_points_become_eyes_base_of_the_nose_and_mouth(monkeypatch):
    points = find_in(monkeypatch, [[(0, 90, 1.0)], [], [(6, 90, 1.0)]])
    assert points.shape == (3, 4, 2) and points.dtype == np.float32
    assert np.isnan(points[1]).all()
    np.testing.assert_allclose(points[0], [[80, 90], [140, 90], [110, 132], [110, 162]], atol=1e-4)
    np.testing.assert_allclose(points[2] - points[0], [[6, 0]] * 4, atol=1e-4)
    # In a crop: upright, the mouth in the middle, the eyes about where those of the mean face are.
    transform = video.to_crop(video.fill_in(points))[0]
    eyes = points[0, :2] @ transform[:, :2].T + transform[:, 2] - 47.5
    np.testing.assert_allclose(eyes, video.MEAN_FACE[:2], atol=4)


def test_of_several_faces_the_large_one_in_the_middle_is_taken_and_kept(monkeypatch):
    middle, aside, small, unsure = (0, 90, 1.0), (90, 92, 1.0), (5, 30, 1.0), (40, 150, 0.5)
    faces = [[aside, small, middle, unsure], [unsure], [aside, middle], [middle, aside]]
    points = find_in(monkeypatch, faces)
    assert np.isnan(points[1]).all()
    np.testing.assert_allclose(points[[0, 2, 3], 0], [[80, 90]] * 3, atol=1e-4)
    # A face that walks away is followed, also when another one comes to the middle.
    walk = [[(10 * t, 90, 1.0)] for t in range(9)] + [[(0, 90, 1.0), (90, 90, 1.0)]]
    assert find_in(monkeypatch, walk)[-1, 0, 0] == pytest.approx(170)


@pytest.mark.parametrize(
    "error", [IndexError("shape of the mask [4]"), ValueError("non-empty list")]
)
def test_a_frame_that_the_detector_fails_at_has_no_face_and_the_others_do(monkeypatch, error):
    class Fails(MadeUp):
        def detect(self, frames, landmarks):
            if any(frame[0, 0, 0] == 2 for frame in frames):
                raise error
            return super().detect(frames, landmarks)

    monkeypatch.setattr(landmarks, "load", lambda: Fails([[(0, 90, 1.0)]] * 4))
    frames = FRAMES.copy()
    frames[:, 0, 0, 0] = range(4)
    lost = np.isnan(landmarks.find(frames)[:, 0, 0])
    assert lost.tolist() == [False, False, True, False]
    error.args = ("no memory is left",)
    with pytest.raises(type(error), match="no memory"):
        landmarks.find(frames)


def test_overlapping_boxes_go_as_in_a_slow_obvious_version():
    def overlap(a, b):
        width, height = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0)
        both = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()
        return width * height / (both - width * height)

    rng = np.random.default_rng(0)
    corners = rng.uniform(-10, 90, (200, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 45, (200, 2))]).astype(np.float32)
    scores, pictures = rng.uniform(0.1, 1, 200).astype(np.float32), rng.integers(0, 4, 200)
    kept = []
    for k in np.argsort(-scores):
        same = [j for j in kept if pictures[j] == pictures[k]]
        if all(overlap(boxes[j], boxes[k]) <= 0.5 for j in same):
            kept.append(k)
    tensors = (torch.from_numpy(x) for x in (boxes, scores, pictures))
    assert landmarks.without_overlap(*tensors, 0.5).tolist() == kept
    nothing = torch.zeros(0)
    assert landmarks.without_overlap(torch.zeros(0, 4), nothing, nothing.long(), 0.5).shape == (0,)


@installed
def test_the_landmarks_are_those_of_mediapipe():
    film = Face([1]).film(np.array([Mouth()] * 4 + [Mouth(jaw=1, open=1)] * 4), [1])[0]
    apart = video.find_landmarks(film, "mtcnn") - video.find_landmarks(film)
    assert np.abs(apart.mean(axis=0)).max() < 6
    assert np.isnan(landmarks.find(np.full((2, 96, 96, 3), 128, np.uint8))).all()
    assert np.isnan(landmarks.find(np.zeros((2, 12, 300, 3), np.uint8))).all()  # too small


@pytest.mark.skipif(REAL_CLIPS is None, reason="MOME_REAL_CLIPS names no folder of real clips")
@pytest.mark.parametrize("backend", ["mediapipe", pytest.param("mtcnn", marks=installed)])
def test_the_lips_of_real_speakers_are_inside_every_crop(backend):
    """The lips as they are found in each frame on its own, without tracking or smoothing."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    paths = [p for p in sorted(Path(REAL_CLIPS).iterdir()) if p.suffix in (".mpg", ".mp4")]
    assert paths, f"{REAL_CLIPS} has no clips"
    mesh = FaceMesh(static_image_mode=True, max_num_faces=1)
    for path in paths:
        frames = video.read_frames(path)
        transforms = video.to_crop(video.fill_in(video.find_landmarks(frames, backend)))
        for t, (frame, transform) in enumerate(zip(frames, transforms, strict=True)):
            marks = mesh.process(frame).multi_face_landmarks[0].landmark
            lips = np.array([[marks[i].x, marks[i].y] for i in LIPS]) * frame.shape[1::-1]
            inside = lips @ transform[:, :2].T + transform[:, 2]
            assert (inside > 8).all() and (inside < 87).all(), f"{path.name}, frame {t}"

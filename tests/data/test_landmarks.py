"""Landmarks by mediapipe, and by MTCNN: by a fake detector, and the real one where installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mome.data import landmarks, mouths, video
from mome.synthesis.face import Face

installed = pytest.mark.skipif(
    importlib.util.find_spec("facenet_pytorch") is None, reason="facenet-pytorch is not installed"
)
# A folder of clips of real speakers, which are not part of the project.
REAL_CLIPS = os.environ.get("MOME_REAL_CLIPS")
LIPS = [61, 291, 0, 17, 13, 14, 37, 267, 84, 314]  # of mediapipe's mesh: corners, above, below

FIVE = np.array([[80, 90], [140, 90], [110, 120], [88, 160], [132, 160]], np.float32)
IMAGES = np.zeros((4, 240, 220, 3), np.uint8)


def test_landmarks_are_where_the_face_is(talking_faces):
    points = landmarks.find(talking_faces[0])
    look = Face([1]).look
    assert points.shape == (12, 4, 2) and not np.isnan(points).any()
    left, right, nose, mouth = points.mean(axis=0)
    assert left[0] < nose[0] < right[0] and max(left[1], right[1]) < nose[1] < mouth[1]
    assert np.abs(mouth - [look.cx, look.mouth_y]).max() < 15


def test_landmarks_do_not_depend_on_the_last_clip(talking_faces):
    first = landmarks.find(talking_faces[0])
    landmarks.find(talking_faces[1])
    assert np.array_equal(landmarks.find(talking_faces[0]), first)


def test_mediapipe_does_not_chatter(talking_faces, capfd):
    landmarks.find(talking_faces[0][:2])
    assert capfd.readouterr().err == ""


def test_without_a_face_there_are_no_landmarks():
    empty = np.full((3, 96, 96, 3), 128, np.uint8)
    assert np.isnan(landmarks.find(empty)).all()


def test_unknown_and_missing_backends_are_errors_that_say_what_to_do(monkeypatch):
    with pytest.raises(ValueError, match="by mediapipe or mtcnn, not 'dlib'"):
        landmarks.find(IMAGES, "dlib")
    backend = landmarks.BACKENDS["mtcnn"]
    assert backend.install.endswith("pip install --no-deps facenet-pytorch==2.6.0")
    monkeypatch.setitem(landmarks.BACKENDS, "mtcnn", backend._replace(modules=("gone_pytorch",)))
    with pytest.raises(ValueError, match=r"mtcnn need gone_pytorch, .*: run pip install requests"):
        landmarks.check_installed("mtcnn")
    landmarks.check_installed("mediapipe")


def test_torch_is_imported_for_mtcnn_only():
    """It takes seconds, in each process that crops mouths by mediapipe or in the centre."""
    code = (
        "import sys, numpy; from mome.bin import crop_mouths; from mome.data import mouths;"
        "mouths.landmarks.find(numpy.zeros((1, 9, 9, 3), 'u1')); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class FakeDetector:
    """A detector that knows which faces an image has; its first pixel is the image's number."""

    def __init__(self, faces: list[list[tuple[int, int, float]]]):
        self.faces = faces  # of each image: how far right a face is, its width, its probability

    def detect(self, images, landmarks):
        assert landmarks
        boxes, chances, points = [], [], []
        for image in images:
            faces = self.faces[image[0, 0, 0]]
            spans = [
                (110 + x - w / 2, 120 - w / 2, 110 + x + w / 2, 120 + w / 2) for x, w, _ in faces
            ]
            boxes.append(np.array(spans) if faces else None)
            chances.append([p for *_, p in faces] or [None])
            points.append(np.stack([FIVE + np.array([x, 0]) for x, *_ in faces]) if faces else None)
        return boxes, chances, points


def find_in(monkeypatch, faces: list[list[tuple[int, int, float]]]) -> np.ndarray:
    """Landmarks (T, 4, 2) of a clip with these faces."""
    images = np.repeat(IMAGES[:1], len(faces), axis=0)
    images[:, 0, 0, 0] = range(len(faces))
    monkeypatch.setattr(landmarks, "_mtcnn", lambda: FakeDetector(faces))
    return landmarks.find(images, "mtcnn")


def test_five_points_become_eyes_base_of_the_nose_and_mouth(monkeypatch):
    points = find_in(monkeypatch, [[(0, 90, 1.0)], [], [(6, 90, 1.0)]])
    assert points.shape == (3, 4, 2) and points.dtype == np.float32
    assert np.isnan(points[1]).all()
    np.testing.assert_allclose(points[0], [[80, 90], [140, 90], [110, 132], [110, 162]], atol=1e-4)
    np.testing.assert_allclose(points[2] - points[0], [[6, 0]] * 4, atol=1e-4)
    # In a crop: upright, the mouth in the middle, the eyes about where those of the mean face are.
    transform = mouths.to_crop(mouths.fill_in(points))[0]
    eyes = points[0, :2] @ transform[:, :2].T + transform[:, 2] - 47.5
    np.testing.assert_allclose(eyes, mouths.MEAN_FACE[:2], atol=4)


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
def test_an_image_that_the_detector_fails_at_has_no_face_and_the_others_do(monkeypatch, error):
    class Fails(FakeDetector):
        def detect(self, images, landmarks):
            if any(image[0, 0, 0] == 2 for image in images):
                raise error
            return super().detect(images, landmarks)

    monkeypatch.setattr(landmarks, "_mtcnn", lambda: Fails([[(0, 90, 1.0)]] * 4))
    images = IMAGES.copy()
    images[:, 0, 0, 0] = range(4)
    lost = np.isnan(landmarks.find(images, "mtcnn")[:, 0, 0])
    assert lost.tolist() == [False, False, True, False]
    error.args = ("no memory is left",)
    with pytest.raises(type(error), match="no memory"):
        landmarks.find(images, "mtcnn")


def test_overlapping_boxes_go_as_in_a_slow_obvious_version():
    def overlap(a, b):
        width, height = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0)
        both = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()
        return width * height / (both - width * height)

    rng = np.random.default_rng(0)
    corners = rng.uniform(-10, 90, (200, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 45, (200, 2))]).astype(np.float32)
    scores, images = rng.uniform(0.1, 1, 200).astype(np.float32), rng.integers(0, 4, 200)
    kept = []
    for k in np.argsort(-scores):
        same = [j for j in kept if images[j] == images[k]]
        if all(overlap(boxes[j], boxes[k]) <= 0.5 for j in same):
            kept.append(k)
    tensors = (torch.from_numpy(x) for x in (boxes, scores, images))
    assert landmarks.suppress_overlaps(*tensors, 0.5).tolist() == kept
    nothing = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long()
    assert landmarks.suppress_overlaps(*nothing, 0.5).shape == (0,)


@installed
def test_both_backends_find_the_same_landmarks(talking_faces):
    clip = talking_faces[0]
    apart = landmarks.find(clip, "mtcnn") - landmarks.find(clip)
    assert np.abs(apart.mean(axis=0)).max() < 6
    for image in (np.full((96, 96, 3), 128, np.uint8), np.zeros((12, 300, 3), np.uint8)):
        assert np.isnan(landmarks.find(np.stack([image] * 2), "mtcnn")).all()


@pytest.mark.skipif(REAL_CLIPS is None, reason="MOME_REAL_CLIPS names no folder of real clips")
@pytest.mark.parametrize("backend", ["mediapipe", pytest.param("mtcnn", marks=installed)])
def test_the_lips_of_real_speakers_are_inside_every_crop(backend):
    """The lips as they are found in each image alone, without tracking or smoothing."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    paths = [p for p in sorted(Path(REAL_CLIPS).iterdir()) if p.suffix in (".mpg", ".mp4")]
    assert paths, f"{REAL_CLIPS} has no clips"
    mesh = FaceMesh(static_image_mode=True, max_num_faces=1)
    for path in paths:
        images = video.read_images(path)
        transforms = mouths.to_crop(mouths.fill_in(landmarks.find(images, backend)))
        for t, (image, transform) in enumerate(zip(images, transforms, strict=True)):
            marks = mesh.process(image).multi_face_landmarks[0].landmark
            lips = np.array([[marks[i].x, marks[i].y] for i in LIPS]) * image.shape[1::-1]
            inside = lips @ transform[:, :2].T + transform[:, 2]
            assert (inside > 8).all() and (inside < 87).all(), f"{path.name}, image {t}"

"""Mouth crops of clips and data directories. tests/bin/test_crop_mouths.py runs the command."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mome import files
from mome.data import datadir, landmarks, mouths, video
from mome.synthesis import movie

installed = pytest.mark.skipif(
    find_spec("facenet_pytorch") is None, reason="facenet-pytorch is not installed"
)
REAL_CLIPS = os.environ.get("MOME_REAL_CLIPS")
TIME_NS = 1_700_000_000_123_456_789


def write_clip(path: Path, images: np.ndarray) -> Path:
    movie.write(path, images, 25, np.zeros(16000, np.int16), 16000)
    return path


def test_a_clip_without_a_face_has_no_mouths(tmp_path, refused):
    path = write_clip(tmp_path / "x.mp4", np.full((3, 96, 96, 3), 128, np.uint8))
    with refused("no face", r"x\.mp4: a face was found in 0 of 3 images"):
        mouths.mouths_of(path)


def test_the_fixed_box_holds_the_mouth_too(talking_faces, tmp_path):
    path = write_clip(tmp_path / "x.mp4", talking_faces[0])
    mouth, num_found = mouths.mouths_of(path, "centre")
    assert mouth.shape == (12, 96, 96) and num_found == 12
    change = cv2.absdiff(mouth[5], mouth[1]).astype(float) ** 2
    y, x = np.average(np.mgrid[0:96, 0:96].reshape(2, -1), axis=1, weights=change.ravel())
    assert abs(x - 48) < 15 and 40 < y < 85


@pytest.mark.parametrize("limits", [{}, {"max_skipped": 1.0, "max_skipped_test": 1.0}])
def test_the_stamp_is_the_marks_and_does_not_change(tmp_path, monkeypatch, limits):
    """Crops made by earlier versions stay valid only as long as this literal holds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mouths, "crop_clip", lambda *job: {"num_frames": 1, "num_found": 1})
    for name, content in (("a", b"12345"), ("b", b"1234567")):
        Path(f"{name}.mp4").write_bytes(content)
        os.utime(f"{name}.mp4", ns=(TIME_NS, TIME_NS))
    video = {"s0-a": "a.mp4", "s0-b-00": "b.mp4[0:249]"}
    speakers, seconds = dict.fromkeys(video, "s0"), dict.fromkeys(video, 1.0)
    datadir.write("data/test", datadir.DataDir(video, video, video, speakers, seconds))
    mouths.crop_set(Path("data/test"), Path("out"), "centre", **limits)
    assert json.loads(Path("out", files.STAMP).read_text()) == {
        "s0-a": f"5 {TIME_NS} centre 4",
        "s0-b-00": f"7 {TIME_NS} centre 4 0 249",
    }


def steady(num: int) -> np.ndarray:
    """Landmarks of a face that does not move, (T, 4, 2)."""
    face = np.array([[80, 90], [140, 92], [110, 130], [111, 160]], np.float32)
    return np.repeat(face[None], num, axis=0)


def test_missing_landmarks_are_interpolated():
    points = steady(20) + 3 * np.arange(20, dtype=np.float32)[:, None, None]
    gaps = points.copy()
    gaps[[5, 6, 12]] = np.nan
    np.testing.assert_allclose(mouths.fill_in(gaps), mouths.fill_in(points), atol=1e-3)
    np.testing.assert_allclose(mouths.fill_in(points)[4:-4], points[4:-4], atol=1e-3)


def test_the_ends_are_repeated():
    points = steady(9)
    points[[0, 1, 8]] = np.nan
    np.testing.assert_allclose(mouths.fill_in(points), steady(9), atol=1e-3)


@pytest.mark.parametrize("num_found, fine", [(5, True), (4, False), (0, False)])
def test_half_of_the_images_need_a_face(num_found, fine, refused):
    points = steady(10)
    points[num_found:] = np.nan
    if fine:
        assert not np.isnan(mouths.fill_in(points)).any()
    else:
        with refused(f"a face in {num_found} of 10 images", f"in {num_found} of 10 images"):
            mouths.fill_in(points)


def test_smoothing_makes_jitter_of_the_shape_smaller():
    jitter = np.random.default_rng(0).normal(size=(200, 4, 2)).astype(np.float32)
    jitter -= jitter.mean(axis=1, keepdims=True)
    assert np.diff(mouths.fill_in(steady(200) + jitter), axis=0).std() < 0.3


def test_the_position_follows_the_face_from_image_to_image():
    """A camera that shakes by 8 pixels, 3 times a second."""
    shake = 8 * np.sin(2 * np.pi * 3 * np.arange(50) / 25)[:, None, None] * [[[0.6, 0.8]]]
    jitter = np.random.default_rng(0).normal(size=(50, 4, 2))
    still = mouths.fill_in((steady(50) + jitter).astype(np.float32))
    shaken = mouths.fill_in((steady(50) + jitter + shake).astype(np.float32))
    np.testing.assert_allclose(shaken - still, np.broadcast_to(shake, still.shape), atol=1e-3)


def test_a_camera_that_shakes_does_not_move_the_mouth_in_the_crop(talking_faces, tmp_path):
    face = np.repeat(talking_faces[0][:1], 25, axis=0)
    shake = np.round(8 * np.sin(2 * np.pi * 3 * np.arange(25) / 25)).astype(int)
    shaken = np.stack([np.roll(image, n, axis=1) for image, n in zip(face, shake, strict=True)])
    crops = [mouths.mouths_of(write_clip(tmp_path / "x.mp4", x))[0] for x in (face, shaken)]
    places = []
    for still, moved in zip(*crops, strict=True):
        size = moved.shape[1]
        inner = still[16:-16, 16:-16]
        match = cv2.matchTemplate(moved, inner, cv2.TM_CCOEFF_NORMED)
        places.append(np.array(np.unravel_index(match.argmax(), match.shape)) - 16)
    assert size == 96 and np.abs(places).mean() < 1 and np.abs(places).max() <= 2


@pytest.mark.parametrize("angle, scale", [(0, 1), (20, 0.7), (-35, 1.8), (10, 4.0)])
def test_a_crop_does_not_depend_on_place_angle_and_size_of_the_face(angle, scale):
    """An image that is turned, scaled and moved with its landmarks gives the same mouth."""
    noise = np.random.default_rng(0).uniform(0, 255, (240, 240)).astype(np.float32)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 6), None, 0, 255, cv2.NORM_MINMAX)
    points = steady(1)
    size = int(400 * max(scale, 1))
    move = cv2.getRotationMatrix2D((110, 130), angle, scale) + [[0, 0, size / 2 - 110]] * 2
    moved = cv2.warpAffine(image, move, (size, size), flags=cv2.INTER_CUBIC)
    moved_points = (points @ move[:, :2].T + move[:, 2]).astype(np.float32)
    one = mouths.crop_mouth(image[None].astype(np.uint8), points)[0]
    two = mouths.crop_mouth(moved[None].clip(0, 255).astype(np.uint8), moved_points)[0]
    inside = one[8:-8, 8:-8].astype(float)
    assert np.abs(inside - two[8:-8, 8:-8]).mean() < 3 < inside.std() / 5


def test_the_mouth_is_in_the_middle_and_the_eyes_are_those_of_the_mean_face():
    turn = 1.7 * np.array([[0.8, -0.6], [0.6, 0.8]])
    face = np.concatenate([mouths.MEAN_FACE, [[0.5, 0.3]]]) @ turn.T + [300, 200]
    transform = mouths.to_crop(face[None].astype(np.float32))[0]
    back = face @ transform[:, :2].T + transform[:, 2]
    assert back[3] == pytest.approx([47.5, 47.5], abs=1e-2)
    np.testing.assert_allclose(back[:3] - back[3], mouths.MEAN_FACE - [0.5, 0.3], atol=0.02)


def test_landmarks_in_one_place_are_no_face(refused):
    with refused("landmarks in one place", "do not form a face"):
        mouths.crop_mouth(np.zeros((1, 9, 9, 3), np.uint8), np.ones((1, 4, 2), np.float32))


def test_what_moves_when_the_mouth_opens_is_inside_the_crop(talking_faces, tmp_path):
    for clip in talking_faces:
        mouth = mouths.crop_mouth(clip, mouths.fill_in(landmarks.find(clip)))
        assert mouth.shape == (12, 96, 96) and mouth.dtype == np.uint8
        change = cv2.absdiff(mouth[5], mouth[1]).astype(float) ** 2
        y, x = np.average(np.mgrid[0:96, 0:96].reshape(2, -1), axis=1, weights=change.ravel())
        assert abs(x - 48) < 8 and abs(y - 52) < 14


def test_landmarks_of_each_third_image():
    rng = np.random.default_rng(0)
    line = np.arange(11.0)[:, None, None] * rng.normal(size=(1, 4, 2)) + 5  # a steady motion
    sparse = mouths.between(line[::3].astype(np.float32), 3, 11)
    assert sparse.shape == (11, 4, 2)
    assert np.allclose(sparse[:10], line[:10], atol=1e-5)
    assert np.allclose(sparse[10], line[9], atol=1e-5)  # after the last one found: repeated
    lost = line[::3].astype(np.float32)
    lost[1] = np.nan  # that of image 3
    seen = ~np.isnan(mouths.between(lost, 3, 11)[:, 0, 0])
    assert seen.tolist() == [True] + 5 * [False] + 5 * [True]


def test_crops_with_fewer_landmarks_are_nearly_the_same(talking_faces):
    images = talking_faces[0]
    all_points = mouths.fill_in(landmarks.find(images))
    few = mouths.fill_in(mouths.between(landmarks.find(images[::3]), 3, len(images)))
    assert np.abs(few - all_points)[:10].mean() < 0.5  # pixels of 224; the last two are repeated


def write_phone_clip(path: Path, images: np.ndarray, turn: int = 0, aspect: float = 1) -> Path:
    """Images to be shown turned counter-clockwise, or with pixels `aspect` as wide as high."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12"}
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        stream.set_display_rotation(turn)
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


PHONES = pytest.mark.parametrize(
    "stored, turn, aspect",
    [
        pytest.param(lambda x: np.rot90(x, -1, (1, 2)), 90, 1, id="turned by 90"),
        pytest.param(lambda x: np.rot90(x, 1, (1, 2)), -90, 1, id="turned by -90"),
        pytest.param(lambda x: np.rot90(x, 2, (1, 2)), 180, 1, id="upside down"),
        pytest.param(lambda x: x[:, :, ::2], 0, 2, id="wide pixels"),
    ],
)


@pytest.mark.parametrize("method", ["mediapipe", pytest.param("mtcnn", marks=installed), "centre"])
@PHONES
def test_crops_of_a_phone_are_those_of_the_upright_clip(
    talking_faces, tmp_path, method, stored, turn, aspect
):
    upright = mouths.mouths_of(write_phone_clip(tmp_path / "x.mp4", talking_faces[0]), method)[0]
    path = write_phone_clip(tmp_path / "y.mp4", stored(talking_faces[0]), turn, aspect)
    crop = mouths.mouths_of(path, method)[0]
    assert cv2.absdiff(upright, crop).mean() < 4 < cv2.absdiff(upright, crop[:, ::-1]).mean()


@pytest.mark.skipif(REAL_CLIPS is None, reason="MOME_REAL_CLIPS names no folder of real clips")
@pytest.mark.parametrize("method", ["mediapipe", pytest.param("mtcnn", marks=installed)])
@PHONES
def test_crops_of_real_speakers_are_those_of_the_upright_clip(
    tmp_path, method, stored, turn, aspect
):
    paths = sorted(Path(REAL_CLIPS).glob("*.mpg"))
    assert paths, f"{REAL_CLIPS} has no clips"
    for path in paths:
        images = video.read_images(path)[:12]
        upright = mouths.mouths_of(write_phone_clip(tmp_path / "x.mp4", images), method)[0]
        phone = write_phone_clip(tmp_path / "y.mp4", stored(images), turn, aspect)
        crop = mouths.mouths_of(phone, method)[0]
        assert cv2.absdiff(upright, crop).mean() < 4, path.name


def test_a_large_clip_is_not_kept_and_its_crops_are_the_same(talking_faces, tmp_path, monkeypatch):
    path = write_clip(tmp_path / "x.mp4", talking_faces[0])
    kept = mouths.mouths_of(path)[0]
    monkeypatch.setattr(mouths, "KEPT_BYTES", 3 * talking_faces[0][0, :, :, 0].size)
    assert np.array_equal(mouths.mouths_of(path)[0], kept)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mediapipe", "centre"])
def test_memory_does_not_grow_with_length_and_size(talking_faces, tmp_path, method):
    """20 s of 1280 x 1024 took 3.9 GB when all images were kept."""
    large = np.stack([cv2.resize(image, (1280, 1024)) for image in talking_faces[0]])
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1280, 1024, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for k in range(500):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large[k // 4 % 12], "rgb24")))
        container.mux(stream.encode())
    code = (  # the peak of this process alone: that of getrusage begins with the parent's
        "import sys; from mome.data import mouths; mouths.mouths_of(*sys.argv[1:]);"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.mp4"), method]
    kilobytes = int(subprocess.run(command, check=True, capture_output=True).stdout.split()[-1])
    assert kilobytes < 500_000


@pytest.mark.parametrize(
    "size, noted",
    [
        pytest.param((224, 224), False, id="a face track"),
        pytest.param((224, 400), True, id="a picture of another form"),
    ],
)
def test_the_fixed_box_warns_of_what_is_no_face_track(tmp_path, caplog, size, noted):
    path = write_clip(tmp_path / "x.mp4", np.full((3, *size, 3), 128, np.uint8))
    mouths.mouths_of(path, "centre")
    assert ("x.mp4: its images are 400x224, not square" in caplog.text) == noted

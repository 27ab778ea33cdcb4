"""Faces of a video: followed from image to image, one chosen, its mouth cropped as in stage 1."""

import numpy as np
import pytest

from mome.data import SAMPLE_RATE, VIDEO_FPS, faces, mouths, video
from mome.synthesis import movie

FACE = np.array([[-10, -15], [10, -15], [0, 0], [0, 15]], dtype=np.float32)  # 30 pixels high


def at(x: float, y: float = 100, size: float = 1) -> np.ndarray:
    return FACE * size + np.float32([x, y])


def test_two_faces_that_move_are_two_tracks_in_whatever_order_they_come():
    found = [[at(50 + t), at(200 - t)][:: 1 if t % 2 else -1] for t in range(20)]
    tracks = faces.follow(found)
    assert sorted(len(track) for track in tracks) == [20, 20]
    assert sorted(round(faces.place_of(track)) for track in tracks) == [60, 190]


def test_a_face_that_is_lost_for_a_moment_is_the_same_and_after_long_another():
    gone = [[]] * faces.MOST_APART
    assert len(faces.follow([[at(50)], *gone[1:], [at(52)]])) == 1
    assert len(faces.follow([[at(50)], *gone, [at(52)]])) == 2
    assert len(faces.follow([[at(50)], [at(150)]])) == 2  # too far to be the same


TRACKS = [
    {t: at(50) for t in range(50)},
    {t: at(150, size=2) for t in range(40)},
    {t: at(250) for t in range(50)},
    {t: at(350, size=3) for t in range(5)},  # large, but not steady
]


@pytest.mark.parametrize(
    "which, place",
    [("largest", 150), ("left", 50), ("right", 250), ("1", 50), ("2", 150), ("3", 250)],
)
def test_the_face_that_is_asked_for_is_chosen(which, place):
    assert faces.place_of(faces.choose(TRACKS, which)) == pytest.approx(place, abs=1)


@pytest.mark.parametrize("which", ["0", "4", "middle", "-1"])
def test_a_face_that_is_not_there_is_an_error_with_the_number_of_faces(which):
    with pytest.raises(ValueError, match=f"there is no face '{which}', since 3 are seen steadily"):
        faces.choose(TRACKS, which)


def test_a_face_that_comes_back_takes_its_place_but_none_that_is_seen_together_with_it():
    before, back = {t: at(50) for t in range(30)}, {t: at(80) for t in range(60, 90)}
    other = {t: at(300, size=0.9) for t in range(20, 80)}
    small = {t: at(60, size=0.3) for t in range(40, 50)}
    chosen = faces.choose([before, back, other, small], "left")
    assert chosen.keys() == before.keys() | back.keys()
    assert faces.choose([], "largest") == {}


@pytest.fixture(scope="module")
def clip(performance, tmp_path_factory):
    """A talking head, as a file."""
    path = tmp_path_factory.mktemp("clips") / "head.mp4"
    p = performance
    movie.write(path, p.images, VIDEO_FPS, p.waveform, SAMPLE_RATE)
    return path


def test_one_face_gives_the_crops_of_stage_1(clip):
    track = faces.read(clip)
    assert track.num_faces == 1 and track.present.all()
    found = np.concatenate(list(track.crops()))
    expected, _ = mouths.mouths_of(clip)
    assert found.shape == expected.shape
    # Landmarks are found for up to five faces here, for one there: they differ by parts of a pixel.
    assert np.abs(found.astype(int) - expected).mean() < 1.5


def test_a_video_without_a_face_has_none(tmp_path, monkeypatch):
    images = [np.full((64, 64, 3), 128, np.uint8)] * 5
    monkeypatch.setattr(video.ImageReader, "__iter__", lambda self: iter(images))
    assert faces.read(tmp_path / "grey.mp4") is None


def test_each_of_two_faces_side_by_side_gives_its_own_mouth(talking_faces, tmp_path):
    one, two = (np.repeat(images[:, :224, :224], 2, axis=0) for images in talking_faces)
    path = tmp_path / "two.mp4"
    both = np.concatenate([one, two], axis=2)
    movie.write(path, both, VIDEO_FPS, np.zeros(16000, np.int16), SAMPLE_RATE)
    for which, images in (("left", one), ("right", two), ("2", two)):
        alone = tmp_path / f"{which}.mp4"
        movie.write(alone, images, VIDEO_FPS, np.zeros(16000, np.int16), SAMPLE_RATE)
        track = faces.read(path, which)
        assert track.num_faces == 2 and track.present.all()
        found = np.concatenate(list(track.crops())).astype(int)
        expected, _ = mouths.mouths_of(alone)
        assert np.abs(found - expected).mean() < 6

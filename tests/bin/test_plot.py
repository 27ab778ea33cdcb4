"""`mome plot`: a clip as the model gets it."""

import weakref

import cv2
import numpy as np
import pytest

from mome.bin import plot
from mome.data import audio, crops, video
from mome.scoring import plots


@pytest.fixture
def folders(tmp_path):
    """A data directory and mouth crops of one clip of a second."""
    data, mouths = tmp_path / "data", tmp_path / "mouths"
    rng = np.random.default_rng(0)
    audio.write(tmp_path / "a.wav", rng.normal(0, 0.1, 16000))
    grey = rng.integers(0, 255, (25, 96, 96)).astype(np.uint8)
    crops.write(tmp_path / "a.mp4", grey)
    for folder, tables in (
        (data, {"text": "HELLO YOU", "wav.scp": "a.wav", "video.scp": "a.mp4"}),
        (mouths, {"mouths.scp": "a.mp4"}),
    ):
        folder.mkdir()
        for name, value in tables.items():
            entry = value if name == "text" else tmp_path / value
            (folder / name).write_text(f"s-1 {entry}\n")
    return data, mouths


def test_a_clip_is_drawn(folders, tmp_path, capsys):
    data, mouths = folders
    plot.main([str(data), str(mouths), "--out", str(tmp_path / "clip.png")])
    image = cv2.imread(str(tmp_path / "clip.png"))
    assert image.shape[1] > 800 and image.std() > 20
    assert "clip.png" in capsys.readouterr().out


def test_images_are_not_kept_and_those_of_even_distance_are_drawn(folders, tmp_path, monkeypatch):
    data, mouths = folders
    made, kept, shown = [], [], []

    class Image(np.ndarray):
        """An array that has weak references."""

    class Reader(video.ImageReader):
        def __iter__(self):
            for image in super().__iter__():
                image = image.copy().view(Image)
                made.append(weakref.ref(image))
                kept.append(sum(one() is not None for one in made))
                yield image

    imshow = plots.plt.Axes.imshow
    monkeypatch.setattr(video, "ImageReader", Reader)
    monkeypatch.setattr(
        plots.plt.Axes, "imshow", lambda a, x, **k: (shown.append(x), imshow(a, x, **k))[1]
    )
    plot.main([str(data), str(mouths), "--out", str(tmp_path / "clip.png")])
    assert len(made) == 25 and max(kept) <= plots.NUM_IMAGES + 2
    images = video.read_images(tmp_path / "a.mp4")
    chosen = np.linspace(0, 24, plots.NUM_IMAGES).round().astype(int)
    assert np.array_equal(shown[0], np.hstack(images[chosen]))


def test_a_video_that_is_shorter_than_its_crops_is_an_error(folders, tmp_path, refused):
    data, mouths = folders
    crops.write(tmp_path / "b.mp4", np.zeros((30, 96, 96), np.uint8))
    (mouths / "mouths.scp").write_text(f"s-1 {tmp_path / 'b.mp4'}\n")
    with refused("a video that is shorter than its crops", "s-1: hello you: its video is shorter"):
        plot.main([str(data), str(mouths), "--out", str(tmp_path / "c.png")])


def test_an_unknown_utterance_and_missing_tables_are_errors(folders, tmp_path, refused):
    data, mouths = folders
    with refused("no such utterance", "has no utterance s-2"):
        plot.main([str(data), str(mouths), "--utterance", "s-2", "--out", str(tmp_path / "c.png")])
    (data / "video.scp").unlink()
    with refused("a table is gone", r"video\.scp is missing: run the stage", FileNotFoundError):
        plot.main([str(data), str(mouths), "--out", str(tmp_path / "c.png")])


def test_scales_of_one_stream_are_refused(folders, tmp_path, capsys):
    data, mouths = folders
    with pytest.raises(SystemExit) as error:
        plot.main([str(data), str(mouths), "--scales", "a4", "--out", str(tmp_path / "c.png")])
    assert error.value.code == 2
    assert "--scales must have audio and video, such as a4_v2; got a4" in capsys.readouterr().err

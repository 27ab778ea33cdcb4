import cv2
import numpy as np
import pytest

from mome.bin import plot
from mome.data import audio, crops


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


def test_an_unknown_utterance_and_missing_tables_are_errors(folders, tmp_path):
    data, mouths = folders
    with pytest.raises(ValueError, match="has no utterance s-2"):
        plot.main([str(data), str(mouths), "--utterance", "s-2", "--out", str(tmp_path / "c.png")])
    (data / "video.scp").unlink()
    with pytest.raises(FileNotFoundError, match=r"video\.scp is missing: run stages 0 and 1"):
        plot.main([str(data), str(mouths), "--out", str(tmp_path / "c.png")])


def test_scales_of_one_stream_are_refused(folders, tmp_path, capsys):
    data, mouths = folders
    with pytest.raises(SystemExit) as error:
        plot.main([str(data), str(mouths), "--scales", "a4", "--out", str(tmp_path / "c.png")])
    assert error.value.code == 2
    assert "--scales must have audio and video, such as a4_v2; got a4" in capsys.readouterr().err

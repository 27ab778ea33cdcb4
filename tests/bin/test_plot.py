import cv2
import numpy as np
import pytest

from mome.bin import plot
from mome.compression import Scale
from mome.data import audio, video
from mome.scoring import plots


@pytest.fixture
def folders(tmp_path):
    """A data directory and mouth crops of one clip of a second."""
    data, mouths = tmp_path / "data", tmp_path / "mouths"
    rng = np.random.default_rng(0)
    audio.write(tmp_path / "a.wav", rng.normal(0, 0.1, 16000))
    grey = rng.integers(0, 255, (25, 96, 96)).astype(np.uint8)
    video.write_mouth(tmp_path / "a.mp4", grey)
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
    picture = cv2.imread(str(tmp_path / "clip.png"))
    assert picture.shape[1] > 800 and picture.std() > 20
    assert "clip.png" in capsys.readouterr().out


def test_there_is_a_box_for_each_token(tmp_path, monkeypatch):
    drawn = []
    barh = plots.plt.Axes.broken_barh
    monkeypatch.setattr(
        plots.plt.Axes,
        "broken_barh",
        lambda self, boxes, *a, **k: drawn.append(boxes) or barh(self, boxes, *a, **k),
    )
    frames, mouths = np.zeros((26, 8, 8, 3), np.uint8), np.zeros((26, 96, 96), np.uint8)
    scales = [Scale(audio=4, video=2), Scale(audio=16, video=5)]
    plots.clip(frames, mouths, np.ones(16320), scales, "", tmp_path / "c.png")  # 51 audio frames
    assert [len(boxes) for boxes in drawn] == [13, 4, 13, 6]
    assert [sum(w for _, w in boxes) for boxes in drawn] == pytest.approx([1.02, 1.02, 1.04, 1.04])


def test_an_unknown_utterance_and_missing_tables_are_told(folders, tmp_path):
    data, mouths = folders
    with pytest.raises(ValueError, match="has no utterance s-2"):
        plot.main([str(data), str(mouths), "--utterance", "s-2", "--out", str(tmp_path / "c.png")])
    (data / "video.scp").unlink()
    with pytest.raises(FileNotFoundError, match=r"video\.scp is missing: run stages 0 and 1"):
        plot.main([str(data), str(mouths), "--out", str(tmp_path / "c.png")])

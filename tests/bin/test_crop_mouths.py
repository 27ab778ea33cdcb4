"""Stage 1: mouth crops of a data directory."""

import importlib.util
import logging
from pathlib import Path

import numpy as np
import pytest

from mome.bin import crop_mouths
from mome.data import ark, crops, datadir, landmarks
from mome.data.datadir import DataDir
from mome.synthesis import movie
from mome.synthesis.face import Face
from mome.synthesis.visemes import Mouth

SILENCE = np.zeros(16000, np.int16)


@pytest.fixture(scope="module")
def films() -> list[np.ndarray]:
    """Three drawn faces, 10 images each."""
    track = np.array([Mouth()] * 5 + [Mouth(jaw=1, open=1)] * 5)
    return [Face([seed]).film(track, [seed])[0] for seed in range(3)]


@pytest.fixture
def data(films, tmp_path, monkeypatch) -> DataDir:
    """data/test, of three clips."""
    monkeypatch.chdir(tmp_path)
    return write_data("data/test", films)


def write_data(path: str, films: list[np.ndarray]) -> DataDir:
    keys = [f"s{k}-00000" for k in range(len(films))]
    Path("media").mkdir(exist_ok=True)
    for key, film in zip(keys, films, strict=True):
        movie.write(Path(f"media/{key}.mp4"), film, 25, SILENCE, 16000)
    media = {k: f"media/{k}.mp4" for k in keys}
    data = DataDir(
        wav=media,
        video=media,
        text=dict.fromkeys(keys, "a"),
        utt2spk={k: k.split("-")[0] for k in keys},
        utt2dur=dict.fromkeys(keys, 0.4),
    )
    datadir.write(path, data)
    return data


def crop(*options: str, out_dir: str = "mouths", data_dir: str = "data/test") -> dict[str, bytes]:
    """Run the command; the bytes of each crop, by utterance."""
    crop_mouths.main([data_dir, out_dir, "--num_jobs", "1", *options])
    scp = ark.read_scp(f"{out_dir}/mouths.scp")
    return {u: Path(path).read_bytes() for u, path in scp.items()}


def test_each_clip_has_its_mouths(data):
    crop()
    scp = ark.read_scp("mouths/mouths.scp")
    assert list(scp) == data.utterances
    for path in scp.values():
        mouth = crops.read(path)
        assert mouth.shape == (10, 96, 96)
        assert np.abs(mouth[8].astype(int) - mouth[1])[36:76, 24:72].mean() > 3  # it opens
    assert not Path("mouths/skipped.txt").exists()


def test_order_and_number_of_processes_do_not_matter(data, films):
    one = crop()
    assert crop("--num_jobs", "2", out_dir="two") == one
    write_data("data/test_alone", films[:1])
    assert crop(out_dir="alone", data_dir="data/test_alone") == {"s0-00000": one["s0-00000"]}


def test_a_second_run_does_nothing_and_a_missing_crop_is_made_again(data, caplog):
    first = crop()
    path = Path(ark.read_scp("mouths/mouths.scp")["s1-00000"])
    with caplog.at_level(logging.INFO):
        crop()
    assert "mouths is up to date" in caplog.text
    path.unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert crop() == first
    assert "1 clips cropped" in caplog.text and "2 before" in caplog.text


def test_changed_media_and_options_are_noticed(data, films, caplog):
    first = crop()
    movie.write(Path("media/s2-00000.mp4"), films[0], 25, SILENCE, 16000)
    with caplog.at_level(logging.INFO):
        second = crop()
    assert "1 clips cropped" in caplog.text
    assert [u for u in first if first[u] != second[u]] == ["s2-00000"]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        crop("--landmarks", "centre")
    assert "3 clips cropped" in caplog.text


def test_a_clip_without_a_face_is_an_error_in_a_test_set(data, films, refused):
    movie.write(Path("media/s1-00000.mp4"), np.full_like(films[1], 128), 25, SILENCE, 16000)
    with refused("no face in a clip", r"1 of 3 .* s1-00000: .*face was found in 0 of 10 images"):
        crop()
    assert list(datadir.read_skipped("mouths")) == ["s1-00000"]
    assert not Path("mouths/mouths.scp").exists()
    assert len(crop("--landmarks", "centre")) == 3  # what to do about it
    assert not Path("mouths/skipped.txt").exists()


def test_a_face_that_is_lost_for_some_images_is_filled_in(data, films, caplog):
    film = films[0].copy()
    film[3:5] = 128
    movie.write(Path("media/s0-00000.mp4"), film, 25, SILENCE, 16000)
    with caplog.at_level(logging.INFO):
        assert len(crop()) == 3
    lost = caplog.text.split("no face in ")[1].split(" images of 30")[0]
    assert 1 <= int(lost) <= 4


def test_a_clip_with_few_faces_is_listed_and_the_least_share_is_an_option(data, films, caplog):
    film = films[1].copy()
    film[6:] = 128
    movie.write(Path("media/s1-00000.mp4"), film, 25, SILENCE, 16000)
    assert len(crop()) == 3
    listed = Path("mouths/low_face.txt").read_text().splitlines()
    assert len(listed) == 1 and listed[0].startswith("s1-00000\t0.")
    share = float(listed[0].split("\t")[1])
    assert 0.5 <= share <= 0.7 and "low_face.txt lists 1 clips, such as s1-00000" in caplog.text
    with pytest.raises(ValueError, match=r"s1-00000: .*s1-00000\.mp4: a face was found in"):
        crop("--min_found", "0.8")
    assert list(datadir.read_skipped("mouths")) == ["s1-00000"]
    assert not Path("mouths/low_face.txt").exists()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert len(crop("--min_found", "0.3")) == 3
    assert "0 clips cropped" in caplog.text, "the option alone asks for no new crops"


def test_what_is_wrong_with_clips_is_noted(data, films):
    wide = np.concatenate([films[2], films[2]], axis=2)
    movie.write(Path("media/s2-00000.mp4"), wide, 25, SILENCE, 16000)
    crop("--landmarks", "centre")
    (note,) = Path("mouths/notes.txt").read_text().splitlines()
    assert note.startswith("s2-00000\tits images are 448x224, not square")
    crop()
    assert not Path("mouths/notes.txt").exists()


def test_one_in_a_hundred_training_clips_may_be_left_out(films, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    write_data("data/train", [films[0][:1]] * 100)
    Path("media/s42-00000.mp4").write_bytes(b"")
    mouths = crop("--landmarks", "centre", data_dir="data/train")
    assert len(mouths) == 99 and "s42-00000" not in mouths
    assert "cannot be decoded" in datadir.read_skipped("mouths")["s42-00000"]
    crop("--landmarks", "centre", data_dir="data/train")  # what was left out stays so
    Path("media/s43-00000.mp4").write_bytes(b"")
    with refused(
        "too many clips without a face", r"2 of 100 .* at most 1% may be.* --max_skipped$"
    ):
        crop("--landmarks", "centre", data_dir="data/train")
    options = ("--landmarks", "centre", "--max_skipped", "0.02")
    assert len(crop(*options, data_dir="data/train")) == 98


def test_the_share_that_may_be_left_out_of_a_test_set_is_an_option(data, capsys, refused):
    Path("media/s1-00000.mp4").write_bytes(b"")
    with refused("no face in a test clip", r"1 of 3 clips .* must be whole.* --max_skipped_test$"):
        crop("--landmarks", "centre", "--max_skipped", "0.5")
    assert len(crop("--landmarks", "centre", "--max_skipped_test", "0.34")) == 2
    with pytest.raises(SystemExit):
        crop("--max_skipped", "5")
    assert "'5' is not a share between 0 and 1" in capsys.readouterr().err


def test_a_backend_that_is_not_installed_says_the_command(data, monkeypatch, refused):
    mtcnn = landmarks.BACKENDS["mtcnn"]
    monkeypatch.setitem(landmarks.BACKENDS, "mtcnn", mtcnn._replace(modules=("gone_pytorch",)))
    with refused("mtcnn is not installed", r"mtcnn need gone_pytorch, .*: run pip install"):
        crop("--landmarks", "mtcnn")
    assert not Path("mouths").exists()


@pytest.mark.skipif(
    importlib.util.find_spec("facenet_pytorch") is None, reason="facenet-pytorch is not installed"
)
def test_mouths_by_mtcnn_in_two_processes(data):
    one = crop("--landmarks", "mtcnn")
    assert crop("--landmarks", "mtcnn", "--num_jobs", "2", out_dir="two") == one
    for path in ark.read_scp("mouths/mouths.scp").values():
        mouth = crops.read(path)
        assert np.abs(mouth[8].astype(int) - mouth[1])[36:76, 24:72].mean() > 3  # it opens


def test_a_run_that_was_stopped_goes_on(data, monkeypatch, caplog, refused):
    whole = crops.write

    def full(path, mouth):
        if path.stem == "s1-00000":
            raise OSError(28, "No space left on device")
        whole(path, mouth)

    with monkeypatch.context() as patch:
        patch.setattr(crops, "write", full)
        with refused("a full disk", "No space left", OSError):
            crop()
    with caplog.at_level(logging.INFO):
        assert len(crop()) == 3
    assert "2 clips cropped" in caplog.text and "1 before" in caplog.text

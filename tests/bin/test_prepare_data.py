"""Stage 0: a corpus to data directories."""

import logging
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mome import corpora
from mome.bin import prepare_data
from mome.data import audio, datadir, validation, video


def write_clip(
    path: Path,
    text: str | None = "HELLO",
    seconds: float = 0.4,
    sound: bool = True,
    num_images: int = 0,
) -> None:
    """A clip of a corpus: mp4 with grey images and a tone, .txt and .phones next to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    num_images = num_images or round(25 * seconds)
    with av.open(str(path), "w") as container:
        video_stream = container.add_stream("libx264", rate=25)
        video_stream.width = video_stream.height = 32
        tone = container.add_stream("aac", rate=16000) if sound else None
        for k in range(num_images):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32), 90, np.uint8), format="gray")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(video_stream.encode(frame))
        container.mux(video_stream.encode())
        if tone:
            x = 0.3 * np.sin(np.arange(round(16000 * seconds)) / 5).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(x[None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            container.mux([*tone.encode(frame), *tone.encode()])
    if text is not None:
        path.with_suffix(".txt").write_text(f"Text:  {text}\nConf:  4\n")
    path.with_suffix(".phones").write_text("h 0.0 0.1\n")


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Three sets in LRS3's layout; the working folder is the recipe's."""
    root = tmp_path / "my corpus"
    for folder, speaker in (
        ("trainval", "train000"),
        ("trainval", "valid000"),
        ("test", "test000"),
    ):
        for k in range(2):
            write_clip(root / folder / speaker / f"{k:05d}.mp4", f"IT'S {speaker[:-3]} {{LG}}")
    (tmp_path / "recipe").mkdir()
    monkeypatch.chdir(tmp_path / "recipe")
    return root


def prepare(root: Path, *options: str) -> None:
    prepare_data.main(["mini", str(root), "data", "--num_jobs", "1", *options])


def wav_times() -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in Path("dump/audio").rglob("*.wav")}


def test_each_set_becomes_a_valid_data_directory_with_16_khz_audio(root):
    prepare(root)
    assert sorted(os.listdir("data")) == ["test", "train", "valid"]
    data = validation.validate("data/train")
    assert data.utterances == ["train000-00000", "train000-00001"]
    assert data.text["train000-00000"] == "it's train"
    assert data.wav["train000-00000"] == "dump/audio/train/train000-00000.wav"
    assert data.video["train000-00000"] == "../my corpus/trainval/train000/00000.mp4"
    assert data.phones["train000-00000"] == "../my corpus/trainval/train000/00000.phones"
    x = audio.read(data.wav["train000-00000"])
    assert data.utt2dur["train000-00000"] == pytest.approx(len(x) / 16000, abs=1e-4)
    assert 0.4 <= len(x) / 16000 < 0.4 + 2 / 25 and np.abs(x).max() > 0.2
    assert not Path("data/train/skipped.txt").exists()


def test_several_processes_and_whole_paths(root):
    prepare(root, "--media_paths", "absolute", "--num_jobs", "2")
    data = validation.validate("data/test")
    for table in (data.wav, data.video, data.phones):
        assert all(os.path.isabs(path) for path in table.values())


def test_a_second_run_does_nothing(root, caplog):
    prepare(root)
    before = wav_times()
    with caplog.at_level(logging.INFO):
        prepare(root)
    assert caplog.text.count("is up to date") == 3 and wav_times() == before


def test_only_what_changed_is_extracted_again(root):
    prepare(root)
    before = wav_times()
    write_clip(root / "trainval/train000/00001.mp4", "NEW", seconds=0.8)
    (root / "trainval/valid000/00000.txt").write_text("Text:  CORRECTED\n")
    Path("dump/audio/test/test000-00001.wav").unlink()
    prepare(root)
    changed = {name for name, time in wav_times().items() if before[name] != time}
    assert changed == {"train000-00001.wav", "test000-00001.wav"}
    assert datadir.read("data/train").utt2dur["train000-00001"] > 0.7
    assert datadir.read("data/valid").text["valid000-00000"] == "corrected"


def spoil(root: Path, fault: str) -> None:
    path = root / "test/test000/00001.mp4"
    if fault == "no text":
        path.with_suffix(".txt").unlink()
    elif fault == "empty text":
        path.with_suffix(".txt").write_text("Text:  {NS}\n")
    elif fault == "no sound":
        write_clip(path, sound=False)
    elif fault == "no video":
        with av.open(str(path), "w") as container:
            tone = container.add_stream("aac", rate=16000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 6400), np.float32), "fltp", "mono")
            frame.sample_rate = 16000
            container.mux([*tone.encode(frame), *tone.encode()])
    elif fault == "apart":
        write_clip(path, seconds=0.4, num_images=15)
    elif fault == "garbage":
        path.write_bytes(os.urandom(5000))
    elif fault == "cut short":
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])


@pytest.mark.parametrize(
    "fault, reason",
    [
        ("no text", "has no text"),
        ("empty text", "has no text"),
        ("no sound", "has no audio stream"),
        ("no video", "has no video stream"),
        ("apart", r"its audio lasts 0.4\d s, but its video 15 frames, 0.60 s"),
        ("garbage", "cannot be decoded"),
        ("cut short", "cannot be decoded"),
    ],
)
def test_a_clip_of_a_test_set_that_cannot_be_used_is_an_error(root, fault, reason, refused):
    spoil(root, fault)
    with refused(f"{reason}", rf"1 of 2 clips .* test000-00001: .*{reason}.*skipped"):
        prepare(root)
    assert list(datadir.read_skipped("data/test")) == ["test000-00001"]
    assert not Path("data/test/text").exists()
    write_clip(root / "test/test000/00001.mp4")  # repaired
    prepare(root)
    assert len(validation.validate("data/test").text) == 2
    assert not Path("data/test/skipped.txt").exists()


def test_one_in_a_hundred_training_clips_may_be_left_out(root, monkeypatch, refused):
    for k in range(2, 100):
        write_clip(root / f"trainval/train000/{k:05d}.mp4", seconds=0.12)
    (root / "trainval/train000/00007.mp4").write_bytes(b"")
    prepare(root)
    assert list(datadir.read_skipped("data/train")) == ["train000-00007"]
    assert len(validation.validate("data/train").text) == 99
    (root / "trainval/train000/00008.mp4").write_bytes(b"")
    with refused("too many bad clips", r"2 of 100 clips .* at most 1% may be.* --max_skipped$"):
        prepare(root)
    prepare(root, "--max_skipped", "0.02")
    assert len(validation.validate("data/train").text) == 98


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(root, monkeypatch, refused):
    whole = audio.write

    def full(path, *rest):
        if path.stem == "train000-00001":
            raise OSError(28, "No space left on device")
        whole(path, *rest)

    monkeypatch.setattr(audio, "write", full)
    with refused("a full disk", "No space left", OSError):
        prepare(root)
    monkeypatch.undo()
    os.chdir(root.parent / "recipe")
    before = wav_times()
    assert list(before) == ["train000-00000.wav"]
    prepare(root)
    assert wav_times()["train000-00000.wav"] == before["train000-00000.wav"]
    assert len(validation.validate("data/train").text) == 2


def test_what_may_be_left_out_of_a_test_set_is_an_option(root, refused):
    (root / "test/test000/00001.mp4").write_bytes(b"")
    with refused("a bad clip of the test set", r"must be whole.* --max_skipped_test$"):
        prepare(root, "--max_skipped", "1")
    prepare(root, "--max_skipped_test", "0.5")
    assert list(datadir.read_skipped("data/test")) == ["test000-00001"]
    assert validation.validate("data/test").utterances == ["test000-00000"]


def test_the_corpora_and_their_hours_are_in_the_help(capsys):
    with pytest.raises(SystemExit):
        prepare_data.main(["--help"])
    text = capsys.readouterr().out
    assert "{" + ",".join(corpora.names()) + "}" in text
    assert "225 (lrs2), 433 or 30 (lrs3)" in " ".join(text.split())


def test_hours_are_not_ignored_where_there_is_no_choice(root, refused):
    with refused("hours of the mini corpus", "the mini corpus has one training set only"):
        prepare(root, "--hours", "30")


def test_a_root_that_is_not_there_says_so(tmp_path, refused):
    with refused("no corpus", "gone is not a folder: give the folder", FileNotFoundError):
        prepare(tmp_path / "gone")


def test_long_clips_of_lrs3_become_pieces_whose_audio_and_video_agree(
    tmp_path, monkeypatch, refused
):
    root = tmp_path / "LRS3"
    write_clip(root / "pretrain/talk/00001.mp4", seconds=20.0)
    rows = "".join(f"W{k} {k + 0.1} {k + 0.9} 1\n" for k in range(20))
    words = " ".join(f"W{k}" for k in range(20))
    text = f"Text:  {words}\n\nWORD START END ASDSCORE\n{rows}"
    (root / "pretrain/talk/00001.txt").write_text(text)
    for name in ("other", "third"):
        write_clip(root / f"trainval/{name}/50001.mp4")
    write_clip(root / "test/last/00001.mp4")
    monkeypatch.chdir(tmp_path)
    with refused("an incomplete corpus", "pretrain has 1 clips of 118516; trainval has 2 clips of"):
        prepare_data.main(["lrs3", str(root), "data"])
    prepare_data.main(["lrs3", str(root), "data", "--allow_missing", "--num_jobs", "1"])
    data = validation.validate("data/train")
    parts = [u for u in data.utterances if u.startswith("talk")]
    assert parts == ["talk-00001-00", "talk-00001-01"]
    assert " ".join(data.text[u] for u in parts) == words.lower()
    lengths = []
    for u in parts:
        images = video.read_images(data.video[u])
        samples = audio.read(data.wav[u])
        assert abs(len(samples) / 640 - len(images)) <= 2
        assert data.utt2dur[u] == pytest.approx(len(samples) / 16000, abs=1e-4)
        lengths.append(len(images))
    assert sum(lengths) == 500 and max(lengths) <= 400
    assert data.video[parts[0]].endswith("00001.mp4[0:249]")


def test_a_long_clip_without_word_times_is_left_out_with_the_reason(tmp_path, monkeypatch, refused):
    root = tmp_path / "LRS3"
    write_clip(root / "pretrain/talk/00001.mp4", seconds=17.0)
    for name in ("other", "third"):
        write_clip(root / f"trainval/{name}/50001.mp4")
    write_clip(root / "test/last/00001.mp4")
    monkeypatch.chdir(tmp_path)
    with refused("a clip that is too long", r"lasts 17\.\d+ s, over 16 s, and cannot be cut"):
        prepare_data.main(["lrs3", str(root), "data", "--allow_missing", "--num_jobs", "1"])
    assert "talk-00001" in Path("data/train/skipped.txt").read_text()

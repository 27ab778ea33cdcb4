"""Checks and tables of stage 0. tests/bin/test_prepare_data.py runs the command."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mome import files
from mome.corpora import Clip, Coverage
from mome.data import datadir, preparation
from mome.synthesis import movie

TIME_NS = 1_700_000_000_123_456_789


def clip(utterance: str, speaker: str = "s") -> Clip:
    return Clip(utterance, speaker, Path(f"{utterance}.mp4"), "words")


def test_a_speaker_in_two_sets_and_an_id_that_comes_twice_are_refused():
    with pytest.raises(ValueError, match=r"s-1\.mp4 and s-1\.mp4 have the same utterance id, s-1"):
        preparation.check_disjoint({"train": [clip("s-1")], "valid": [clip("s-1")]})
    sets = {"train": [clip("s-1"), clip("s-2")], "valid": [clip("s-3")]}
    with pytest.raises(ValueError, match="speaker s is in train and in valid"):
        preparation.check_disjoint(sets)
    preparation.check_disjoint(sets, speakers=False)


def test_an_incomplete_corpus_is_an_error_unless_allowed():
    rows = [Coverage("train", 9, 10), Coverage("test", 3, 3)]
    with pytest.raises(ValueError, match=r"not whole: train has 9 clips of 10\. "):
        preparation.check_coverage(rows, allow_missing=False)
    preparation.check_coverage(rows, allow_missing=True)
    preparation.check_coverage(rows[1:], allow_missing=False)


def test_the_frames_of_pieces_follow_each_other():
    path = Path("x.mp4")
    assert preparation.frames_of(path, (0.0, 9.98), 400) == (0, 249)
    assert preparation.frames_of(path, (9.98, None), 400) == (250, 399)
    assert preparation.frames_of(path, (9.98, 99.0), 400) == (250, 399)
    with pytest.raises(ValueError, match=r"x\.mp4 ends before 16\.00 s"):
        preparation.frames_of(path, (16.0, None), 400)


def test_a_silent_clip_is_left_out_in_stage_0(tmp_path):
    """In noise, it would have no SNR: stage 1 failed at it."""
    path, images = tmp_path / "x.mp4", np.full((25, 32, 32, 3), 90, np.uint8)
    x = np.zeros(16000, np.int16)
    movie.write(path, images, 25, x, 16000)
    with pytest.raises(ValueError, match=r"x\.mp4: its audio is silent"):
        preparation.extract_audio(Clip("s-x", "s", path, "a"), tmp_path / "x.wav")
    assert not (tmp_path / "x.wav").exists()
    movie.write(path, images, 25, x + np.int16(1000), 16000)
    preparation.extract_audio(Clip("s-x", "s", path, "a"), tmp_path / "x.wav")


@pytest.fixture
def clips(tmp_path, monkeypatch) -> list[Clip]:
    """A clip with all that a clip may have, two pieces, and one that cannot be used."""
    monkeypatch.chdir(tmp_path)
    Path("media").mkdir()
    for name, content in (("a.mp4", b"12345"), ("b.mp4", b"1234567")):
        Path("media", name).write_bytes(content)
        os.utime(Path("media", name), ns=(TIME_NS, TIME_NS))
    Path("media/a.phones").write_text("h 0 1\n")
    a, b = Path("media/a.mp4"), Path("media/b.mp4")
    return [
        Clip("s0-a", "s0", a, "it's me", phones_path=Path("media/a.phones")),
        Clip("s0-b-00", "s0", b, "hello", times=(0.0, 9.98)),
        Clip("s0-b-01", "s0", b, "there", times=(9.98, None)),
        Clip("s0-c", "s0", Path("gone.mp4"), "", max_seconds=16.0, fault="c.txt: broken"),
    ]


# Data directories made by earlier versions stay valid only as long as this literal holds.
STAMP = {
    "audio_dir": "dump/audio/train",
    "clips": [
        ["s0-a", "s0", "media/a.mp4", "it's me", "media/a.phones", "None", "None", "",
         f"5 {TIME_NS} True 3"],
        ["s0-b-00", "s0", "media/b.mp4", "hello", "None", "(0.0, 9.98)", "None", "",
         f"7 {TIME_NS} True 3 0.0 9.98"],
        ["s0-b-01", "s0", "media/b.mp4", "there", "None", "(9.98, None)", "None", "",
         f"7 {TIME_NS} True 3 9.98 None"],
        ["s0-c", "s0", "gone.mp4", "", "None", "None", "16.0", "c.txt: broken", "missing"],
    ],
    "media_paths": "relative",
    "version": 3,
}  # fmt: skip


@pytest.mark.parametrize("max_skipped_test", [0.25, 1.0])
def test_the_stamp_does_not_change(clips, monkeypatch, max_skipped_test):
    def extract_audio(clip: Clip, wav_path: Path) -> dict:
        preparation.check_usable(clip)
        wav_path.parent.mkdir(parents=True, exist_ok=True)
        wav_path.touch()
        return {"seconds": 1.0, **({"frames": [0, 1]} if clip.times else {})}

    monkeypatch.setattr(preparation, "extract_audio", extract_audio)
    options = preparation.Options(Path("dump/audio"), max_skipped=max_skipped_test)
    preparation.prepare_set(clips, Path("data/train"), options)
    assert json.loads(Path("data/train", files.STAMP).read_text()) == STAMP
    assert datadir.read("data/train").video["s0-b-00"] == "media/b.mp4[0:1]"
    assert datadir.read("data/train").phones is None  # not all clips have them
    assert datadir.read_skipped("data/train") == {"s0-c": "c.txt: broken"}

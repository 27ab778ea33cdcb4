"""Data directories."""

from pathlib import Path

import pytest

from mome.data import datadir, validation
from mome.data.datadir import DataDir


@pytest.fixture
def data(kaldi_tables) -> DataDir:
    return kaldi_tables


def test_what_is_written_is_read_back_sorted(data, tmp_path):
    datadir.write(tmp_path / "set", data)
    back = validation.validate(tmp_path / "set")
    assert back == data
    assert list(back.text) == ["s1-00001", "s1-00002", "s2-00001"] == back.utterances
    lines = (tmp_path / "set" / "spk2utt").read_text().splitlines()
    assert lines == ["s1 s1-00001 s1-00002", "s2 s2-00001"]
    assert (tmp_path / "set" / "text").read_text().splitlines()[1] == "s1-00002 it's"
    names = {p.name for p in (tmp_path / "set").iterdir()}
    assert names == {"wav.scp", "video.scp", "text", "utt2spk", "spk2utt", "utt2dur"}


def test_sorting_is_by_bytes():
    assert datadir.sort(["é-1", "b-1", "B-1", "a_1", "a-1"]) == ["B-1", "a-1", "a_1", "b-1", "é-1"]


def test_a_table_that_is_gone_does_not_stay(data, tmp_path):
    data.phones = dict(data.wav)
    datadir.write(tmp_path / "set", data)
    assert datadir.read(tmp_path / "set").phones == data.phones
    data.phones = None
    datadir.write(tmp_path / "set", data)
    assert validation.validate(tmp_path / "set").phones is None


def test_a_subset_has_the_same_tables(data):
    part = data.subset(["s2-00001", "s1-00001"])
    assert part.utterances == list(part.wav) == ["s1-00001", "s2-00001"]
    assert part.phones is None


def test_a_missing_table_says_so(data, tmp_path, refused):
    datadir.write(tmp_path / "set", data)
    (tmp_path / "set" / "utt2dur").unlink()
    with refused("a table is gone", "utt2dur is missing: run the stage", FileNotFoundError):
        datadir.read(tmp_path / "set")


@pytest.mark.parametrize("value", ["two\nlines", " edge", "edge ", "line\u2028separator"])
def test_what_does_not_fit_on_a_line_is_refused(data, tmp_path, value, refused):
    data.text["s1-00001"] = value
    with refused("a text of two lines, to be written", "text: cannot hold 's1-00001'"):
        datadir.write(tmp_path / "set", data)
    assert not (tmp_path / "set" / "text").exists()


def test_tables_about_other_utterances_are_refused(data, tmp_path, refused):
    del data.wav["s1-00001"]
    with refused(
        "tables of other utterances, to be written", "wav and utt2spk do not have the same"
    ):
        datadir.write(tmp_path / "set", data)
    with refused("no utterance is left", "no utterance is left"):
        datadir.write(tmp_path / "set", data.subset([]))


def test_a_full_disk_leaves_the_old_tables(data, tmp_path, monkeypatch, refused):
    datadir.write(tmp_path / "set", data)
    before = {p.name: p.read_bytes() for p in (tmp_path / "set").iterdir()}
    real = Path.write_text

    def full(path, text, **options):
        if "utt2dur" in path.name:
            raise OSError(28, "No space left on device")
        return real(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with refused("a full disk", "No space left", OSError):
        datadir.write(tmp_path / "set", data.subset(["s1-00001"]))
    assert {p.name: p.read_bytes() for p in (tmp_path / "set").iterdir()} == before


def test_skipped_clips_are_listed_and_read_back(tmp_path):
    assert datadir.read_skipped(tmp_path) == {}
    skipped = {"s2-1": "no face\nanywhere", "s1-1": "a\ttab"}
    path = datadir.write_skipped(tmp_path, skipped)
    assert path.read_text() == "s1-1\ta tab\ns2-1\tno face anywhere\n"
    assert datadir.read_skipped(tmp_path) == {"s1-1": "a tab", "s2-1": "no face anywhere"}
    datadir.write_skipped(tmp_path, {})
    assert not path.exists()

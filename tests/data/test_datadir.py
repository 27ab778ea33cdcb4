"""Data directories."""

from pathlib import Path

import pytest

from mome.data import datadir
from mome.data.datadir import DataDir


@pytest.fixture
def data(tmp_path) -> DataDir:
    """Two speakers, three utterances, in no order; paths with spaces."""
    keys = ["s2-00001", "s1-00002", "s1-00001"]
    media = {}
    for kind in ("wav", "mp4"):
        for key in keys:
            media[kind, key] = tmp_path / "my media" / f"{key}.{kind}"
            media[kind, key].parent.mkdir(exist_ok=True)
            media[kind, key].touch()
    return DataDir(
        wav={k: str(media["wav", k]) for k in keys},
        video={k: str(media["mp4", k]) for k in keys},
        text=dict(zip(keys, ["a b", "it's", "c"], strict=True)),
        utt2spk={k: k[:2] for k in keys},
        utt2dur={k: 1.25 for k in keys},
    )


def test_what_is_written_is_read_back_sorted(data, tmp_path):
    datadir.write(tmp_path / "set", data)
    back = datadir.validate(tmp_path / "set")
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
    assert datadir.validate(tmp_path / "set").phones is None


def test_a_subset_has_the_same_tables(data):
    part = data.subset(["s2-00001", "s1-00001"])
    assert part.utterances == list(part.wav) == ["s1-00001", "s2-00001"]
    assert part.phones is None


@pytest.mark.parametrize(
    "file, old, new, message",
    [
        ("text", "s1-00002 it's\n", "", r"s1-00002 is missing in text"),
        ("text", "s1-00002 it's\n", "s1-00002 \n", r"text is empty at s1-00002"),
        ("text", "s1-00001 c\n", "", r"s1-00001 is missing in text"),
        (
            "text",
            "s2-00001",
            "s3-00001",
            r"s2-00001 is missing in text; s3-00001 is missing in utt",
        ),
        ("utt2dur", "1.25000", "0", r"utt2dur says 0.0 at s1-00001"),
        ("utt2dur", "1.25000", "nan", r"utt2dur says nan at s1-00001"),
        ("utt2dur", "1.25000", "soon", r"utt2dur: s1-00001 lasts 'soon'"),
        ("utt2spk", "s2-00001 s2", "s2-00001 s1", r"s2-00001 does not begin with its speaker s1"),
        ("spk2utt", "s1-00001 s1-00002", "s1-00001", r"spk2utt is not the inverse"),
        (
            "wav.scp",
            "s1-00001.wav",
            "gone.wav",
            r"wav.scp: s1-00001 has .*gone.wav, which does not",
        ),
        ("video.scp", "s1-00002.mp4", "gone", r"video.scp: s1-00002 has .*gone, which does not"),
        ("text", "s1-00002 it's", "s1-00001 it's", r"text: s1-00001 is duplicated"),
        ("text", "s1-00002 it's", "", r"text has an empty or unreadable line"),
    ],
)
def test_a_problem_is_reported_with_file_and_utterance(data, tmp_path, file, old, new, message):
    datadir.write(tmp_path / "set", data)
    path = tmp_path / "set" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        datadir.validate(tmp_path / "set")


def test_lines_out_of_order_are_a_problem(data, tmp_path):
    datadir.write(tmp_path / "set", data)
    path = tmp_path / "set" / "text"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    with pytest.raises(ValueError, match="text is not sorted with LC_ALL=C at s2-00001"):
        datadir.validate(tmp_path / "set")


def test_many_problems_are_counted(data, tmp_path):
    datadir.write(tmp_path / "set", data)
    for file in (tmp_path / "my media").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"does not exist; .* and 3 more$"):
        datadir.validate(tmp_path / "set")


def test_a_missing_table_says_so(data, tmp_path):
    datadir.write(tmp_path / "set", data)
    (tmp_path / "set" / "utt2dur").unlink()
    with pytest.raises(FileNotFoundError, match="utt2dur is missing: run the stage"):
        datadir.read(tmp_path / "set")


@pytest.mark.parametrize("value", ["two\nlines", " edge", "edge ", "line\u2028separator"])
def test_what_does_not_fit_on_a_line_is_refused(data, tmp_path, value):
    data.text["s1-00001"] = value
    with pytest.raises(ValueError, match="text: cannot hold 's1-00001'"):
        datadir.write(tmp_path / "set", data)
    assert not (tmp_path / "set" / "text").exists()


def test_tables_about_other_utterances_are_refused(data, tmp_path):
    del data.wav["s1-00001"]
    with pytest.raises(ValueError, match="wav and utt2spk do not have the same"):
        datadir.write(tmp_path / "set", data)
    with pytest.raises(ValueError, match="no utterance is left"):
        datadir.write(tmp_path / "set", data.subset([]))


def test_a_full_disk_leaves_the_old_tables(data, tmp_path, monkeypatch):
    datadir.write(tmp_path / "set", data)
    before = {p.name: p.read_bytes() for p in (tmp_path / "set").iterdir()}
    real = Path.write_text

    def full(path, text, **options):
        if "utt2dur" in path.name:
            raise OSError(28, "No space left on device")
        return real(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
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


@pytest.mark.parametrize(
    "lost, total, is_test, limits, fine",
    [
        (0, 100, True, {}, True),
        (1, 100, False, {}, True),
        (2, 100, False, {}, False),
        (1, 1000, True, {}, False),
        (1, 1000, True, {"max_skipped": 0.5}, False),
        (1, 1000, True, {"max_skipped_test": 0.001}, True),
        (1, 1000, True, {"max_skipped_test": 0.0009}, False),
        (29, 100, False, {"max_skipped": 0.29}, True),
        (1, 100, False, {"max_skipped": 0.0}, False),
    ],
)
def test_one_in_a_hundred_may_be_lost_and_none_of_a_test_set(lost, total, is_test, limits, fine):
    skipped = {f"s-{k}": "no face" for k in range(lost)}
    where = Path("data/x/skipped.txt")
    if fine:
        datadir.check_skipped(skipped, total, is_test, where, **limits)
        return
    with pytest.raises(ValueError, match=rf"{lost} of {total} .* s-0: no face; .* data/x/skipped"):
        datadir.check_skipped(skipped, total, is_test, where, **limits)

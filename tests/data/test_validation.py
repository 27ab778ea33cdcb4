"""Checks of a data directory, and of what was left out of it."""

from pathlib import Path

import pytest

from mome.data import datadir, validation
from mome.data.datadir import DataDir


@pytest.fixture
def data(kaldi_tables) -> DataDir:
    return kaldi_tables


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
        validation.validate(tmp_path / "set")


def test_lines_out_of_order_are_a_problem(data, tmp_path):
    datadir.write(tmp_path / "set", data)
    path = tmp_path / "set" / "text"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    with pytest.raises(ValueError, match="text is not sorted with LC_ALL=C at s2-00001"):
        validation.validate(tmp_path / "set")


def test_many_problems_are_counted(data, tmp_path):
    datadir.write(tmp_path / "set", data)
    for file in (tmp_path / "my media").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"does not exist; .* and 3 more$"):
        validation.validate(tmp_path / "set")


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
        validation.check_skipped(skipped, total, is_test, where, **limits)
        return
    with pytest.raises(ValueError, match=rf"{lost} of {total} .* s-0: no face; .* data/x/skipped"):
        validation.check_skipped(skipped, total, is_test, where, **limits)

"""The reader of a folder of one's own, with a .txt beside each medium or with a table."""

import os
import re
from pathlib import Path

import pytest

from mome.corpora import folder


def add(path: Path, text: str | None = "Some words.") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"media")
    if text is not None:
        path.with_suffix(".txt").write_text(text)


@pytest.fixture
def root(tmp_path) -> Path:
    """20 speakers with two clips each, one of them in a folder of its own."""
    root = tmp_path / "my corpus"
    for k in range(20):
        add(root / f"Speaker {k:02}/first clip.MOV", "Hello, World!\nIt\u2019s me.\n")
        add(root / f"Speaker {k:02}/day 2/b.mkv", "Text:  THE WORDS {NS}\nConf:  4\n")
    (root / "README.txt").write_text("Not a transcript: no media lie here.")
    (root / "Speaker 00/notes.pdf").write_text("Neither is this.")
    return root


def ids(sets: dict) -> dict[str, list[str]]:
    return {name: [clip.utterance for clip in clips] for name, clips in sets.items()}


def test_ids_texts_and_speakers_come_from_names_and_files(root):
    clips = {c.utterance: c for clips in folder.list_sets(root).values() for c in clips}
    assert len(clips) == 40 and not any(c.fault for c in clips.values())
    one, two = clips["Speaker_07-first_clip"], clips["Speaker_07-day_2-b"]
    assert one.speaker == two.speaker == "Speaker_07"
    assert one.text == "hello world it's me" and two.text == "the words"
    assert one.media_path == root / "Speaker 07/first clip.MOV"


def test_sets_are_drawn_by_speaker_and_are_the_same_each_time(root, caplog):
    caplog.set_level("INFO")
    sets = folder.list_sets(root)
    assert ids(sets) == ids(folder.list_sets(root))
    speakers = {name: {c.speaker for c in clips} for name, clips in sets.items()}
    assert [len(s) for s in speakers.values()] == [16, 2, 2]  # a tenth each
    assert not speakers["train"] & speakers["valid"] | speakers["test"] & speakers["train"]
    assert "test is drawn by speaker: 4 clips of 2, Speaker_" in caplog.text


def test_three_speakers_are_the_fewest(tmp_path):
    for speaker in ("a", "b"):
        add(tmp_path / speaker / "1.mp4")
        add(tmp_path / speaker / "2.mp4")
    with pytest.raises(ValueError, match="must be drawn by speaker, but there are 2 sp"):
        folder.list_sets(tmp_path)
    add(tmp_path / "c/1.mp4")
    sets = folder.list_sets(tmp_path)
    assert all(len({c.speaker for c in clips}) == 1 for clips in sets.values())


def test_folders_called_train_valid_and_test_are_the_sets(tmp_path):
    for name in ("train/ann/1.mp4", "train/2.mp4", "dev/ann/3.mp4", "Test/bob/4.mp4"):
        add(tmp_path / name)
    add(tmp_path / "extra/eve/5.mp4")
    sets = folder.list_sets(tmp_path)
    assert ids(sets) == {
        "train": ["ann-1", "extra", "train-2"],
        "valid": ["ann-3"],
        "test": ["bob-4"],
    }
    assert sets["train"][1].fault == "extra lies beside train and belongs to no set"


def test_a_set_that_is_not_given_is_drawn_from_the_training_set(tmp_path):
    for k in range(3):
        add(tmp_path / f"train/s{k}/1.mp4")
    add(tmp_path / "test/x/1.mp4")
    sets = folder.list_sets(tmp_path)
    assert [len(clips) for clips in sets.values()] == [2, 1, 1]
    assert sets["test"][0].utterance == "x-1"


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    root = tmp_path / "corpus"
    for k in range(3):
        add(tmp_path / f"elsewhere/s{k}/1.mp4")
    root.mkdir()
    for k in range(3):
        (root / f"s{k}").symlink_to(tmp_path / f"elsewhere/s{k}")
    (root / "s0/again").symlink_to(root)
    (root / "s1/self").symlink_to(".")
    clips = [c for clips in folder.list_sets(root).values() for c in clips]
    assert len(clips) == 5 and {c.utterance for c in clips} >= {"s0-1", "s1-1", "s2-1"}
    faults = [c.fault for c in clips if c.fault]
    assert len(faults) == 2
    assert all(f.endswith("is a symbolic link to a folder above it") for f in faults)


def test_what_has_no_partner_or_two_is_a_clip_with_a_fault(root):
    add(root / "Speaker 01/both.mp4")
    (root / "Speaker 01/both.avi").write_bytes(b"")
    (root / "Speaker 01/lone.txt").write_text("no media")
    add(root / "Speaker 01/silent.mp4", None)
    add(root / "Speaker 01/first_clip.mp4")
    clips = [c for clips in folder.list_sets(root).values() for c in clips]
    faults = {c.media_path.name: c.fault for c in clips if c.fault}
    assert sorted(faults) == ["both.avi", "first_clip.mp4", "lone.txt"]
    assert faults["both.avi"].endswith("has both both.avi and both.mp4; remove one")
    assert "has no media file beside it" in faults["lone.txt"]
    assert "has the same id, Speaker_01-first_clip, as" in faults["first_clip.mp4"]
    (silent,) = [c for c in clips if c.media_path.stem == "silent"]
    assert silent.text == ""  # stage 0 says so
    assert {c.utterance for c in clips if c.fault} == {
        "Speaker%2001%2Fboth.avi", "Speaker%2001%2Ffirst_clip.mp4", "Speaker%2001%2Flone.txt",
    }  # fmt: skip


def test_a_fault_never_becomes_a_set_of_its_own(tmp_path):
    for speaker in ("a", "b", "c"):
        add(tmp_path / speaker / "1.mp4")
    for k in range(30):
        os.mkfifo(tmp_path / f"pipe{k}")
        (tmp_path / f"s{k}").mkdir()
        (tmp_path / f"s{k}/1.mp4").symlink_to("1.mp4")
    sets = folder.list_sets(tmp_path)
    assert len(sets["train"]) == 61 and all(folder.is_usable(c) for c in sets["valid"])


TABLE = '''\
Path,Speaker,Split,Text,Mood
clips/a.mp4,Ann Lee,train,"Hello, ""you""",good
clips/b.mp4,Ann Lee,TRAIN,,
clips/c.mp4,bob,validation,Bye,
{elsewhere}/d.mp4,eve/2,test,Ciao,
'''


@pytest.fixture
def with_table(tmp_path) -> Path:
    root = tmp_path / "corpus"
    for name in "abc":
        add(root / f"clips/{name}.mp4", "Beside it")
    add(tmp_path / "elsewhere/d.mp4")
    (root / "clips.csv").write_text("\ufeff" + TABLE.format(elsewhere=tmp_path / "elsewhere"))
    return root


def test_a_table_gives_speakers_sets_and_texts(with_table):
    sets = folder.list_sets(with_table)
    assert ids(sets) == {
        "train": ["Ann_Lee-clips-a", "Ann_Lee-clips-b"],
        "valid": ["bob-clips-c"],
        "test": ["eve_2-elsewhere-d"],
    }
    assert [c.text for c in sets["train"]] == ["hello you", "beside it"]
    assert sets["test"][0].media_path.is_file()


def test_a_table_of_tabs_needs_paths_alone(root):
    paths = sorted(p.relative_to(root) for p in root.rglob("*.MOV"))
    (root / "list.TSV").write_text("path\n" + "".join(f"{p}\n" for p in paths))
    sets = folder.list_sets(root)
    clips = [c for clips in sets.values() for c in clips]
    assert len(clips) == 20 and {c.speaker for c in clips} == {f"Speaker_{k:02}" for k in range(20)}
    assert all(c.text == "hello world it's me" for c in clips)


@pytest.mark.parametrize(
    "line, fault",
    [
        ("clips/b.mp4,s,train,hi", r"line 2 has 4 fields, but the first line 5"),
        (",s,train,hi,", r"line 2 has no path"),
        ("clips/b.mp4,s,trian,hi,", r"line 2 has the split 'trian': give train, valid or test"),
        ("clips/b.mp4,s,,hi,", r"line 2 has the split '': give"),
        ("gone.mp4,s,train,hi,", r"gone\.mp4 does not exist"),
        ("clips,s,train,hi,", r"clips is a folder, not a file"),
        ("clips/a.mp4,Ann Lee,train,hi,", r"a\.mp4 has the same id, Ann_Lee-clips-a, as "),
        ("clips/b.mp4,s\x07,train,hi,", r"control character"),
    ],
)
def test_a_line_that_cannot_be_used_is_a_clip_with_a_fault(with_table, line, fault):
    path = with_table / "clips.csv"
    head, *rows = path.read_text().split("\n")
    rows = [*rows, line] if "same id" in fault else [line, *rows]
    path.write_text("\n".join([head, *rows]))
    clips = [c for clips in folder.list_sets(with_table).values() for c in clips]
    (found,) = [c.fault for c in clips if c.fault]
    assert re.search(fault, found), found
    assert len(clips) == 5


@pytest.mark.parametrize(
    "content, message",
    [
        (b"file,text\na.mp4,hi\n", r"clips\.csv has the columns file, text: it needs path"),
        (b"", r"has the columns \(none\): it needs path"),
        (b'path,text\nclips/a.mp4,"hi\n', r"clips\.csv, line 2 is not CSV: unexp"),
        (b"path,text\nclips/a.mp4,caf\xe9\n", r"clips\.csv, line 2: byte 0xe9 is not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line_with_its_place(with_table, content, message, tell):
    (with_table / "clips.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        folder.list_sets(with_table)
    tell(f"clips.csv: {content!r}", error.value)


def test_two_tables_and_no_clips_are_errors(with_table, tmp_path, tell):
    (with_table / "b.tsv").touch()
    with pytest.raises(
        ValueError, match=r"has 2 tables, b\.tsv, clips\.csv: leave the one"
    ) as error:
        folder.list_sets(with_table)
    tell("two tables", error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"has no clip that can be used: give a folder"
    ) as error:
        folder.list_sets(tmp_path / "empty")
    tell("no clips", error.value)

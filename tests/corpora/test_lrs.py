"""The readers of LRS3 and LRS2, on corpora with every oddity of the real ones."""

import itertools
from pathlib import Path

import pytest

from mome.corpora import lrs2, lrs3


def touch(path: Path, text: str | None = "Text:  HELLO {LG} THERE\nConf:  4\n", media=".mp4"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if media:
        path.with_suffix(media).write_bytes(b"")
    if text is not None:
        path.with_suffix(".txt").write_text(text)


def timed(*ends: float) -> str:
    """A text file whose words W0, W1, ... follow each other and end at these times."""
    starts = (0.0, *ends)
    rows = "".join(f"W{k} {starts[k]} {end} 1.0\n" for k, end in enumerate(ends))
    words = " ".join(f"W{k}" for k in range(len(ends)))
    return f"Text:  {words}\nConf:  3\n\nWORD START END ASDSCORE\n{rows}"


@pytest.fixture
def ted(tmp_path) -> Path:
    root = tmp_path / "my LRS3"
    for video in range(40):
        for clip in (50001, 50002):
            touch(root / f"trainval/vid{video:02}/{clip}")
        touch(root / f"pretrain/vid{video:02}/00001", timed(1.0, 2.0))
    touch(root / "pretrain/-long_1/00002", timed(*range(1, 41)))  # 40 s
    touch(root / "pretrain/-long_1/00003", "Text:  NO TIMES\n")
    touch(root / "test/Xy_-9/00001", media=".MP4")
    touch(root / "test/Xy_-9/00002", text=None)
    touch(root / "test/Xy_-9/00003", media=None)
    (root / "test/Xy_-9/.hidden.mp4").write_bytes(b"")
    (root / "test/readme.txt").write_text("not a video")
    return root


def test_lrs3_sets_share_no_video_and_validation_is_the_same_each_time(ted):
    sets = lrs3.list_sets(ted)
    videos = {name: {c.speaker for c in clips} for name, clips in sets.items()}
    assert not videos["train"] & videos["valid"] and not videos["train"] & videos["test"]
    assert [c.utterance for c in sets["valid"]] == [
        c.utterance for c in lrs3.list_sets(ted, 30)["valid"]
    ]
    assert 0.0375 * 80 <= len(sets["valid"]) <= 5
    assert all(c.media_path.parent.parent.name == "trainval" for c in sets["valid"])
    # What pretrain has of these videos is left out.
    held_out = videos["valid"]
    assert {f"vid{k:02}" for k in range(40)} - held_out <= videos["train"]
    assert len([c for c in sets["train"] if c.speaker != "-long_1"]) == 3 * (40 - len(held_out))


def test_lrs3_of_30_hours_is_trainval_alone(ted, refused):
    train = lrs3.list_sets(ted, 30)["train"]
    assert {c.media_path.parent.parent.name for c in train} == {"trainval"}
    with refused("hours that LRS3 does not have", "LRS3 is trained on 433 or 30 h, not 100"):
        lrs3.list_sets(ted, 100)


def test_incomplete_clips_are_listed_with_what_is_known_of_them(ted):
    clips = {c.utterance: c for c in lrs3.list_sets(ted)["test"]}
    assert list(clips) == ["Xy_-9-00001", "Xy_-9-00002", "Xy_-9-00003"]
    assert clips["Xy_-9-00001"].text == "hello there"
    assert clips["Xy_-9-00001"].media_path.name == "00001.MP4"
    assert clips["Xy_-9-00002"].text == ""
    assert not clips["Xy_-9-00003"].media_path.exists()
    rows = {r.split: (r.found, r.expected, r.missing) for r in lrs3.coverage(ted)}
    assert rows["test"] == (1, 1321, 1320)
    assert rows["pretrain"][0] == 42  # a clip in pieces is one


def test_long_clips_of_pretrain_are_cut_between_words(ted):
    clips = {c.utterance: c for c in lrs3.list_sets(ted)["train"] if c.speaker == "-long_1"}
    parts = [clips[f"-long_1-00002-{k:02}"] for k in range(3)]
    assert " ".join(c.text for c in parts) == " ".join(f"w{k}" for k in range(40))
    assert parts[0].times[0] == 0.0 and parts[-1].times[1] is None
    for a, b in itertools.pairwise(parts):
        assert a.times[1] == b.times[0]
    assert all((c.times[1] or 40) - c.times[0] <= 16 for c in parts)
    assert clips["-long_1-00003"].max_seconds == 16  # checked when its length is known
    assert clips["-long_1-00003"].times is None


def test_a_broken_text_file_is_a_fault_of_its_clip(ted):
    path = ted / "pretrain/-long_1/00004"
    touch(path, "Text:  A\n\nWORD START END\nA zero 1.0\n")
    clip = {c.utterance: c for c in lrs3.list_sets(ted)["train"]}["-long_1-00004"]
    assert "'A zero 1.0' does not give a WORD" in clip.fault and "00004.txt" in clip.fault


def test_lrs3_elsewhere_says_what_was_looked_for(tmp_path, refused):
    with refused(
        "LRS3 without pretrain", "pretrain is not a folder: LRS3 has pretrain,", FileNotFoundError
    ):
        lrs3.list_sets(tmp_path)


@pytest.mark.parametrize("outside", [True, False])
def test_lrs2_follows_its_lists_next_to_the_media_or_among_them(tmp_path, outside):
    media = tmp_path / "bbc/mvlrs_v1"
    speaker = "5535415699068794046"
    for folder, clip in (
        ("pretrain", "00001"),
        ("main", "00002"),
        ("main", "00003"),
        ("main", "00004"),
        ("main", "00009"),
    ):
        touch(media / folder / speaker / clip)
    touch(media / "pretrain" / speaker / "00005", timed(9, 20))
    lists = {
        "pretrain": f"{speaker}/00001\n{speaker}/00005\n",
        "train": f"{speaker}/00002\n{speaker}/00002\n\n",
        "val": f"{speaker}/00003\n",
        "test": f"{speaker}/00004 NF\n{speaker}/00007 NF\n",
    }
    for name, text in lists.items():
        ((media.parent if outside else media) / f"{name}.txt").write_text(text)
    for root in (media.parent, media):
        sets = {k: [c.utterance[20:] for c in v] for k, v in lrs2.list_sets(root).items()}
        assert sets == {
            "train": ["00001", "00002", "00005-00", "00005-01"],
            "valid": ["00003"],
            "test": ["00004", "00007"],
        }
    rows = {r.split: r.found for r in lrs2.coverage(media)}
    assert rows == {"pretrain": 2, "train": 1, "val": 1, "test": 1}


def test_lrs2_without_its_folders_or_lists_says_what_is_missing(tmp_path, refused):
    with refused("LRS2 without main", "has no mvlrs_v1/main", FileNotFoundError):
        lrs2.list_sets(tmp_path)
    (tmp_path / "mvlrs_v1/main").mkdir(parents=True)
    with refused("LRS2 without lists", r"pretrain\.txt is neither in", FileNotFoundError):
        lrs2.list_sets(tmp_path)

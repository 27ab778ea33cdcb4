"""Stage 0 on trees that hold what nobody expects: each such entry is a line in skipped.txt.

Nothing is decoded here: in a tree with a named pipe, a reader that opens it would wait for ever.
"""

import itertools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mome.bin import prepare_data
from mome.corpora import tree
from mome.data import datadir, preparation

GRID_NAMES = [f"{a}{b}af2n" for a in "blps" for b in "bgrw"]  # the first three are used


@dataclass(frozen=True)
class Layout:
    """A corpus with two good clips of each of five speakers; train has `folder` among them."""

    root: Path
    folder: Path  # of a speaker of the training set
    bad: str  # the stem of the clip that is made bad
    suffix: str


def add_clip(folder: Path, stem: str, suffix: str, text: str | None = "Text:  HELLO\n") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}{suffix}").write_bytes(b"media")
    if text is not None:
        (folder / f"{stem}.txt").write_text(text)


def lay_out(corpus: str, root: Path) -> Layout:
    """The corpus, and in it one more clip, that is to be spoilt."""
    if corpus == "grid":
        for speaker, name in itertools.product(("s1", "s3", "s5"), GRID_NAMES[:2]):
            add_clip(root / speaker, name, ".mpg", None)
        return Layout(root, root / "s5", GRID_NAMES[2], ".mpg")
    top, speakers = {
        "lrs3": ("trainval", ["tedx", "valid1", "valid2"]),
        "lrs2": ("mvlrs_v1/main", ["tedx", "valid1", "valid2"]),
        "mini": ("trainval", ["train000", "valid000"]),
        "folder": ("train", ["ann", "bob"]),
    }[corpus]
    others = {"lrs3": "test/last", "lrs2": "mvlrs_v1/main/last", "mini": "test/test000"}
    folders = [root / top / name for name in speakers]
    folders += (
        [root / others[corpus]] if corpus in others else [root / "test/cy", root / "valid/dy"]
    )
    for folder, k in itertools.product(folders, (1, 2)):
        add_clip(folder, f"0000{k}", ".mp4")
    if corpus == "lrs3":
        (root / "pretrain").mkdir()
    if corpus == "lrs2":
        lists = {"pretrain": [], "train": ["tedx"], "val": ["valid1", "valid2"], "test": ["last"]}
        for name, videos in lists.items():
            rows = [f"{video}/0000{k}\n" for video in videos for k in (1, 2)]
            rows += ["tedx/00003\n"] if name == "train" else []
            (root / f"{name}.txt").write_text("".join(rows))
    train = next(f for f in folders if corpus != "lrs3" or f.name not in drawn_by_lrs3(root))
    return Layout(root, train, "00003", ".mp4")


def drawn_by_lrs3(root: Path) -> set[str]:
    from mome.corpora import lrs3

    return lrs3.validation_videos(lrs3.read_split(root, "trainval"))


# ---- how a clip is spoilt -----------------------------------------------------------------------


def media(make: Callable[[Path], object]) -> Callable[[Layout], object]:
    def spoil(at: Layout):
        (at.folder / f"{at.bad}.txt").write_text("Text:  HELLO\n")
        return make(at.folder / f"{at.bad}{at.suffix}")

    return spoil


def text(make: Callable[[Path], object]) -> Callable[[Layout], object]:
    def spoil(at: Layout):
        add_clip(at.folder, at.bad, at.suffix, None)
        return make(at.folder / f"{at.bad}.txt")

    return spoil


def named(name: bytes) -> Callable[[Layout], object]:
    def spoil(at: Layout):
        for suffix in (at.suffix, ".txt"):
            path = os.fsencode(at.folder) + b"/" + name + suffix.encode()
            with open(path, "wb") as file:
                file.write(b"Text:  HELLO\n")

    return spoil


def both_cases(suffix: str) -> Callable[[Layout], object]:
    def spoil(at: Layout):
        add_clip(at.folder, at.bad, at.suffix)
        ending = suffix or at.suffix
        (at.folder / f"{at.bad}{ending.upper()}").write_bytes(b"media")

    return spoil


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(tree.MAX_TEXT + 1)


def timed(row: str) -> Callable[[Path], object]:
    return lambda p: p.write_text(f"Text:  A B\n\nWORD START END\nA 0.5 1.0\n{row}\n")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


ALL = ("lrs2", "lrs3", "mini", "grid", "folder")
TEXTS = ("lrs2", "lrs3", "mini", "folder")
NAMES = ("lrs3", "mini", "grid", "folder")  # the lists of LRS2 cannot hold such names
WORDS = ("lrs2", "lrs3", "mini")
CASES = {
    "link to itself": (ALL, media(link_to_itself), "a symbolic link that leads back to itself"),
    "link to nothing": (ALL, media(lambda p: p.symlink_to("gone")), "link to gone, which is not"),
    "named pipe": (ALL, media(os.mkfifo), "is a named pipe, not a file"),
    "folder": (ALL, media(Path.mkdir), "is a folder, not a file"),
    "text that is a pipe": (TEXTS, text(os.mkfifo), "txt is a named pipe, not a file"),
    "text that is a folder": (TEXTS, text(Path.mkdir), "txt is a folder, not a file"),
    "text that is a link to itself": (TEXTS, text(link_to_itself), "txt is a symbolic link that"),
    "text in latin-1": (
        TEXTS, text(lambda p: p.write_bytes(b"Text: OH\nRef: CAF\xe9\n")),
        r"txt, line 2: byte 0xe9 is not UTF-8; save it as UTF-8"),
    "text in UTF-16": (
        TEXTS, text(lambda p: p.write_text("Text:  HELLO\n", encoding="utf-16")), "txt is UTF-16"),
    "binary text": (TEXTS, text(lambda p: p.write_bytes(b"\0\1")), "txt holds binary data, not"),
    "huge text": (TEXTS, text(sparse), "txt is no text of a clip: it has 1,048,577 bytes"),
    "empty text": (TEXTS, text(Path.touch), "has no text"),
    "words out of order": (WORDS, text(timed("B 0.2 0.4")), "times of 'b', 0.2 to 0.4 s, are not"),
    "a word that ends before it starts": (WORDS, text(timed("B 3 2")), "times of 'b', 3 to 2 s"),
    "a word without an end": (WORDS, text(timed("B 3 inf")), "times of 'b', 3 to inf s"),
    "a word at no number": (WORDS, text(timed("B nan 2")), "times of 'b', nan to 2 s"),
    "name in latin-1": (NAMES, named(b"caf\xe9"), r"caf\\xe9\.m.*(not UTF-8|not the name of)"),
    "name of two lines": (NAMES, named(b"a\nb"), r"a\\nb\.m.*(white space|control|not the name)"),
    "long name": (("lrs3", "mini", "folder"), named(b"x" * 220), "longer than 200 bytes"),
    "white space in a name": (("lrs3", "mini", "grid"), named(b"a b"), "white space|not the name"),
    "endings in both cases": (ALL, both_cases(""), r"has both (\w+)\.M\w+ and \1\.m\w+; remove"),
    "texts in both cases": (TEXTS, both_cases(".txt"), r"has both 00003\.TXT and 00003\.txt"),
}  # fmt: skip


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Runs stage 0 without decoding; returns what was left out, and all that was kept, by id."""
    monkeypatch.chdir(tmp_path)

    def extract_audio(clip, wav_path: Path) -> dict:
        wav_path.parent.mkdir(parents=True, exist_ok=True)
        wav_path.write_bytes(b"")
        return {"seconds": 1.0}

    monkeypatch.setattr(preparation, "extract_audio", extract_audio)

    def prepare(corpus: str, root: Path) -> tuple[dict[str, str], dict[str, str]]:
        options = ["--max_skipped", "1", "--max_skipped_test", "1", "--num_jobs", "1"]
        prepare_data.main([corpus, str(root), "data", "--allow_missing", *options])
        skipped, kept = {}, {}
        for name in ("train", "valid", "test"):
            skipped |= datadir.read_skipped(f"data/{name}")
            kept |= datadir.read(f"data/{name}").text
        return skipped, kept

    return prepare


def assert_in_words(reason: str, root: Path) -> None:
    """One line that names a file or folder, without numbers of errors or Python's words."""
    assert reason.isprintable() and "/" in reason
    for sign in ("Errno", "codec", "Error", "object", "None"):
        assert sign not in reason.replace(str(root), "")


@pytest.mark.parametrize(
    "corpus, case", [(corpus, case) for case, (where, *_) in CASES.items() for corpus in where]
)
def test_a_bad_entry_is_a_line_in_skipped_and_the_others_go_on(
    corpus, case, tmp_path, prepare, tell
):
    at = lay_out(corpus, tmp_path / "my corpus")
    _, good = prepare(corpus, at.root)
    _, spoil, reason = CASES[case]
    spoil(at)
    skipped, kept = prepare(corpus, at.root)
    assert kept == good and len(skipped) == 1
    ((utterance, found),) = skipped.items()
    assert re.search(reason, found), found
    assert_in_words(tell(f"{corpus}: {case}", found), at.root)
    assert utterance.split() == [utterance] and utterance.isprintable()


@pytest.mark.parametrize("corpus", ALL)
def test_a_folder_that_cannot_be_read_is_a_line_too(corpus, tmp_path, prepare, monkeypatch, tell):
    at = lay_out(corpus, tmp_path / "corpus")
    other = at.folder.with_name({"mini": "train001", "grid": "s6"}.get(corpus, "zz"))
    add_clip(other, "00001", at.suffix)
    if corpus == "lrs2":
        with (at.root / "train.txt").open("a") as file:
            file.write("zz/00001\n")
    listdir = os.listdir

    def refuse(folder="."):
        if Path(folder) == other:
            raise PermissionError(13, "Permission denied", str(folder))
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refuse)  # root may read everything
    skipped, kept = prepare(corpus, at.root)
    skipped.pop("tedx-00003", None)  # on the list of LRS2, but not there
    ((utterance, reason),) = skipped.items()
    line = tell(f"{corpus}: a folder without permission", reason)
    assert line == f"{other} cannot be listed: permission denied"
    assert utterance.startswith(other.name) or other.name in utterance
    assert any(u.startswith(at.folder.name) for u in kept)


@pytest.mark.parametrize("corpus", ["lrs3", "folder", "grid"])
def test_a_file_without_permission_is_a_line_too(corpus, tmp_path, prepare, monkeypatch, tell):
    at = lay_out(corpus, tmp_path / "corpus")
    add_clip(at.folder, at.bad, at.suffix)
    access = os.access
    path = at.folder / (f"{at.bad}.txt" if corpus != "grid" else f"{at.bad}.mpg")
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p) != path and access(p, mode))
    skipped, _ = prepare(corpus, at.root)
    ((_, reason),) = skipped.items()
    line = tell(f"{corpus}: a file without permission", reason)
    assert line == f"{path} may not be read: permission denied"


@pytest.mark.parametrize(
    "corpus, parent", [("lrs3", "trainval"), ("grid", "."), ("folder", "train")]
)
def test_a_link_in_the_place_of_a_speaker_that_leads_nowhere(
    corpus, parent, tmp_path, prepare, tell
):
    at = lay_out(corpus, tmp_path / "corpus")
    link_to_itself(at.root / parent / ("s7" if corpus == "grid" else "zz"))
    skipped, _ = prepare(corpus, at.root)
    ((_, reason),) = skipped.items()
    line = tell(f"{corpus}: a speaker is a link to itself", reason)
    assert line.endswith("is a symbolic link that leads back to itself")


def test_a_line_of_a_list_never_leads_out_of_the_corpus(tmp_path, prepare, tell):
    at = lay_out("lrs2", tmp_path / "corpus")
    add_clip(at.folder, at.bad, at.suffix)
    (tmp_path / "secret.mp4").write_bytes(b"media")
    with (at.root / "train.txt").open("a") as file:
        file.write("../../../secret\n../secret\nsecret\ntedx/\n")
    skipped, _ = prepare("lrs2", at.root)
    assert len(skipped) == 4
    for reason in skipped.values():
        line = tell("lrs2: a line of a list that leads out of the corpus", reason)
        assert "which is not <broadcast>/<clip>" in line


def test_too_many_bad_entries_are_an_error_before_anything_is_decoded(tmp_path, monkeypatch, tell):
    at = lay_out("lrs3", tmp_path / "corpus")
    os.mkfifo(at.folder / "00003.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preparation, "extract_audio", None)
    with pytest.raises(ValueError, match=r"tedx-00003: .* is a named pipe|were left out") as error:
        prepare_data.main(["lrs3", str(at.root), "data", "--allow_missing", "--num_jobs", "1"])
    tell("lrs3: too many bad entries", error.value)
    assert [*datadir.read_skipped("data/train")] == [f"{at.folder.name}-00003"]


def test_a_file_that_turns_bad_while_it_is_read_ends_no_stage(tmp_path, monkeypatch, tell):
    at = lay_out("lrs3", tmp_path / "corpus")
    monkeypatch.chdir(tmp_path)

    def read(path: Path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(preparation.audio, "read", read)
    clip = preparation.Clip("a-b", "a", at.folder / "00001.mp4", "hello")
    with pytest.raises(ValueError, match=r"00001\.mp4 cannot be read: input/output error$") as e:
        preparation.extract_audio(clip, Path("x.wav"))
    tell("lrs3: a disk that fails", e.value)

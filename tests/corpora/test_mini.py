"""The reader of the mini corpus, and the text files that corpora share."""

import pytest

from mome.corpora import Word, mini, normalise, read_text_file


@pytest.fixture
def root(tmp_path):
    """A corpus of empty media in a folder with a space and an accent in its name."""
    root = tmp_path / "my côrpus"
    for clip in ("pretrain/train003/00000", "trainval/train000/00000", "trainval/train000/00001",
                 "trainval/valid000/00000", "test/test000/00000"):  # fmt: skip
        path = root / clip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".mp4").touch()
        path.with_suffix(".phones").write_text("_ 0.0 0.1\n")
        path.with_suffix(".txt").write_text(f"Text:  WORDS OF {path.name}\nConf:  5\n")
    return root


def test_sets_by_folder_and_speaker(root):
    found = {name: [c.utterance for c in mini.list_clips(root, name)] for name in mini.SETS}
    assert found == {
        "train": ["train000-00000", "train000-00001", "train003-00000"],
        "valid": ["valid000-00000"],
        "test": ["test000-00000"],
    }
    clip = mini.list_clips(root, "test")[0]
    assert clip.speaker == "test000" and clip.text == "words of 00000"
    assert clip.phones_path == root / "test/test000/00000.phones"


def test_a_clip_without_text_has_none(root):
    (root / "test/test000/00000.txt").unlink()
    assert mini.list_clips(root, "test")[0].text == ""


def test_no_corpus_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="stage 0"):
        mini.list_clips(tmp_path, "train")
    with pytest.raises(ValueError, match="train, valid, test, not 'dev'"):
        mini.list_clips(tmp_path, "dev")


def test_lrs2_lists_are_followed(tmp_path):
    (tmp_path / "mvlrs_v1/main/test000").mkdir(parents=True)
    (tmp_path / "test.txt").write_text("test000/00001 NF\n\ntest000/00000 MV\n")
    clips = mini.list_clips(tmp_path, "test")
    assert [c.utterance for c in clips] == ["test000-00000", "test000-00001"]
    with pytest.raises(FileNotFoundError, match=r"val\.txt is missing"):
        mini.list_clips(tmp_path, "valid")


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("I'M {LG} HERE", "i'm here"),
        ("WELL-KNOWN, {NS} isn\u2019t it?", "well known isn't it"),
        ("'TIS ' 20 {UNFINISHED", "'tis 20 unfinished"),
        ("CAFÉ_BAR", "café bar"),
        ("{LG}", ""),
    ],
)
def test_normalise(raw, clean):
    assert normalise(raw) == clean


def test_a_text_file_is_read_by_names_not_by_positions(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(
        "Conf:  4\nText:  THE {LG} CAT\nRef:   0Fi83BHQsMA\n\nWORD ASDSCORE END START\n"
        "THE 8.2 0.12 0.00\n{LG} 1.0 0.5 0.12\nCAT 9 0.9 0.5\n\n"
        "FRAME X Y W H\n000001 0.2 0.1 0.4 0.4\n"
    )
    text = read_text_file(path)
    assert text.text == "the cat"
    assert text.headers == {"Conf": "4", "Text": "THE {LG} CAT", "Ref": "0Fi83BHQsMA"}
    assert text.words == [Word("the", 0.0, 0.12), Word("cat", 0.5, 0.9)]


def test_missing_sections_are_empty_and_a_broken_word_is_told(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Conf:  4\n")
    assert read_text_file(path).text == "" and read_text_file(path).words == []
    path.write_text("Text:  A\n\nWORD START END\nA 0.0\n")
    with pytest.raises(ValueError, match=r"a\.txt: 'A 0\.0'"):
        read_text_file(path)

"""The reader of the mini corpus."""

import pytest

from mome.corpora import mini


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
    found = {name: [c.utterance for c in clips] for name, clips in mini.list_sets(root).items()}
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


def test_a_mini_corpus_has_any_size_and_one_training_set(root):
    assert mini.coverage(root) == []
    with pytest.raises(ValueError, match="one training set only: it cannot be limited to 30 h"):
        mini.list_sets(root, 30)

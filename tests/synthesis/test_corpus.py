"""The corpus: the same bytes for any number of processes, resumed runs, files of LRS3 and LRS2."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from mome.corpora import mini
from mome.corpora.text_file import read_text_file
from mome.synthesis.corpus import Settings, plan, synthesise

SIZES = {"train_speakers": 4, "valid_speakers": 1, "test_speakers": 1}
TINY = Settings(**SIZES, clips_per_speaker=1, eval_clips_per_speaker=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpora") / "mini"
    synthesise(root, TINY, num_jobs=1)
    return root


def contents(root: Path) -> dict[str, bytes]:
    files = (p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


def test_two_processes_write_the_same_bytes(corpus, tmp_path):
    synthesise(tmp_path / "other", TINY, num_jobs=2)
    assert contents(corpus) == contents(tmp_path / "other")


def test_a_second_run_makes_only_what_is_missing(corpus, caplog):
    before = contents(corpus)
    lost = next(corpus.glob("trainval/*/*.mp4"))
    times = {path: path.stat().st_mtime_ns for path in corpus.rglob("*.mp4")}
    lost.unlink()
    with caplog.at_level(logging.INFO):
        synthesise(corpus, TINY, num_jobs=1)
    assert "1 of them to be made" in caplog.text
    assert contents(corpus) == before
    kept = {path for path in times if path.stat().st_mtime_ns == times[path]}
    assert kept == set(times) - {lost}
    caplog.clear()
    with caplog.at_level(logging.INFO):
        synthesise(corpus, TINY, num_jobs=1)
    assert "up to date" in caplog.text


def test_a_folder_that_was_not_made_here_is_left_alone(tmp_path):
    (tmp_path / "trainval" / "abc").mkdir(parents=True)
    with pytest.raises(ValueError, match="not made by this command"):
        synthesise(tmp_path, TINY, num_jobs=1)
    assert (tmp_path / "trainval" / "abc").exists()


def test_text_files_have_words_and_face_boxes(corpus):
    for part in ("pretrain", "trainval", "test"):
        path = next(corpus.glob(f"{part}/*/*.txt"))
        text = read_text_file(path)
        assert text.headers["Ref"] == path.parent.name
        assert "FRAME X Y W H" in path.read_text()
        words = [word.word for word in text.words]
        assert words == (text.text.split() if part == "pretrain" else [])


def test_the_lrs2_layout_has_the_same_clips(corpus, tmp_path):
    root = tmp_path / "lrs2"
    synthesise(root, replace(TINY, layout="lrs2"), num_jobs=1)
    assert (root / "mvlrs_v1" / "pretrain" / "train003" / "00000.mp4").exists()
    for set_name in mini.SETS:
        clips, others = mini.list_clips(root, set_name), mini.list_clips(corpus, set_name)
        assert [(c.utterance, c.text) for c in clips] == [(c.utterance, c.text) for c in others]
        assert all(c.media_path.exists() for c in clips)


def test_the_plan_depends_on_the_seed_and_gives_each_set_its_own_speakers(tmp_path):
    settings = replace(TINY, clips_per_speaker=3)
    takes = plan(tmp_path, settings)
    assert takes == plan(tmp_path, settings)
    other = plan(tmp_path, replace(settings, seed=2))
    assert [t.path for t in takes] == [t.path for t in other]
    assert [t.sentence for t in takes] != [t.sentence for t in other]
    speakers = {
        name: {t.speaker for t in takes if t.set_index == i} for i, name in enumerate(mini.SETS)
    }
    assert {name: len(group) for name, group in speakers.items()} == {
        "train": 4,
        "valid": 1,
        "test": 1,
    }
    assert {t.speaker for t in takes if t.part == "pretrain"} == {"train003"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train_speakers": 0}, "train_speakers must be at least 1, got 0"),
        ({"test_speakers": -1}, "test_speakers must not be negative, got -1"),
        ({"layout": "lrs4"}, "layout must be lrs3 or lrs2, got lrs4"),
    ],
)
def test_settings_that_make_no_corpus_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)

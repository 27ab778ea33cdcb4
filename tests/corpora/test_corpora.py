"""What all corpora have in common."""

import inspect

import pytest

from mome import corpora
from mome.corpora import Clip, Corpus


@pytest.mark.parametrize("name", corpora.names())
def test_every_corpus_has_the_same_names(name):
    corpus = corpora.load(name)
    assert isinstance(corpus.HOURS, tuple) and isinstance(corpus.SPEAKERS_DISJOINT, bool)
    for function in ("list_sets", "coverage"):
        ours = inspect.signature(getattr(corpus, function))
        named = inspect.signature(getattr(Corpus, function))
        assert list(ours.parameters.values()) == list(named.parameters.values())[1:]
        assert ours.return_annotation == named.return_annotation
        with pytest.raises(ValueError, match="h"):
            getattr(corpus, function)("gone", 7)


def test_a_new_corpus_is_a_new_file(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text("HOURS = (1,)\n")
    monkeypatch.setattr(corpora, "__path__", [*corpora.__path__, str(tmp_path)])
    assert corpora.names() == ["folder", "grid", "grid_overlapped", "lrs2", "lrs3", "mini", "toy"]
    assert corpora.load("toy").HOURS == (1,)
    with pytest.raises(ValueError, match="no corpus 'text_file'; there are folder, grid, "):
        corpora.load("text_file")


def test_hours_are_one_of_the_choices_or_the_first():
    assert corpora.choose_hours("X", None, (433, 30)) == 433
    assert corpora.choose_hours("X", 30, (433, 30)) == 30
    assert corpora.choose_hours("X", None, ()) is None
    with pytest.raises(ValueError, match="X is trained on 433 or 30 h, not 100"):
        corpora.choose_hours("X", 100, (433, 30))


def test_pieces_of_a_clip_count_once_and_only_with_media_and_text(tmp_path):
    paths = [tmp_path / f"{k}.mp4" for k in range(3)]
    for path in paths[:2]:
        path.touch()
    clips = [Clip("s-0-00", "s", paths[0], "a"), Clip("s-0-01", "s", paths[0], "b")]
    clips += [Clip("s-1", "s", paths[1], ""), Clip("s-2", "s", paths[2], "c")]
    row = corpora.count_clips("train", clips, 5)
    assert (row.found, row.expected, row.missing) == (1, 5, 4)

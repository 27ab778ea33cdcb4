"""When words are said: the path of CTC against all paths, times, and models that cannot tell."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import WordTokenizer, baby_model

from mome import checkpoint
from mome.config import Config
from mome.transcription.words import LATEST_S, Aligner, best_path, times


def every_path(num: int, ids: list[int]):
    """All ways to write tokens and blanks (-1) at `num` positions that CTC reads as `ids`."""
    for path in itertools.product([-1, *range(len(ids))], repeat=num):
        order = [k for n, k in enumerate(path) if n == 0 or path[n - 1] != k]
        tokens = [k for k in order if k >= 0]
        if tokens != list(range(len(ids))):
            continue
        joined = [k for k, following in itertools.pairwise(order) if k >= 0 and following >= 0]
        if all(ids[k] != ids[k + 1] for k in joined):
            yield path


@pytest.mark.parametrize("ids", [[5], [5, 6], [5, 5], [5, 6, 6], [5, 6, 5]])
def test_the_path_is_the_best_of_all(ids):
    rng = np.random.default_rng(0)
    for num in range(1, 7):
        paths = list(every_path(num, ids))
        for _ in range(5):
            scores = rng.normal(size=(num, 1 + len(ids)))
            found = best_path(scores, ids)
            if not paths:
                assert found is None
                continue
            best = max(paths, key=lambda p: sum(scores[n, 1 + k] for n, k in enumerate(p)))
            places = [[n for n, k in enumerate(best) if k == token] for token in range(len(ids))]
            assert found == [(place[0], place[-1]) for place in places]


def test_words_meet_between_their_tokens_and_pauses_belong_to_none():
    spans = [(5, 5), (7, 8), (9, 9), (30, 31)]
    found = times(spans, num=33, token_s=0.08)
    starts, ends = np.array(found).T
    np.testing.assert_allclose(starts / 0.08, [4, 6.5, 9, 29])  # at most one position before
    np.testing.assert_allclose(ends[:2], starts[1:3])
    assert ends[2] == pytest.approx(10 * 0.08 + LATEST_S) and ends[3] == pytest.approx(32.5 * 0.08)


def with_alignment(model, folder, bias: float) -> Aligner:
    """An aligner of a model whose blanks all score `bias`."""
    blanks = {}
    for stream in model.streams:
        blanks[f"alignment.blank.{stream}.weight"] = torch.zeros(1, 16)
        blanks[f"alignment.blank.{stream}.bias"] = torch.tensor([bias])
    checkpoint.save(folder, blanks, Config(), {})
    return Aligner(model, WordTokenizer(), folder)


@pytest.mark.parametrize("heard", [["audio"], ["video"], ["audio", "video"]])
def test_a_word_is_where_its_embedding_is_heard(tmp_path, monkeypatch, heard):
    model = baby_model()  # its finest scale has tokens of 80 ms in both streams
    aligner = with_alignment(model, tmp_path, bias=15.0)
    table = model.llm.get_input_embeddings().weight.detach()
    said = {2: "the", 3: "the", 6: "boat", 12: "found"}
    tokens = torch.randn(14, 16)
    for place, word in said.items():
        (token,) = WordTokenizer()(word).input_ids
        tokens[place] = table[token]
    noise = torch.randn(14, 16)
    heard_or_not = {s: [tokens if s in heard else noise] for s in ("audio", "video")}
    monkeypatch.setattr(model, "project", lambda scale, **batch: heard_or_not)
    frames = {"audio": torch.zeros(56, 8), "video": torch.zeros(28, 6)}
    found = aligner.words("the boat found", frames, heard, start=10.0, end=11.05)
    assert [w.word for w in found] == ["the", "boat", "found"]
    starts = [(w.start - 10) / 0.08 for w in found]
    assert starts == pytest.approx([1, 5, 11])
    assert (found[0].end - 10) / 0.08 == pytest.approx(5)
    assert found[-1].end == 11.05  # not 11.08: the piece ends within the last token


def test_a_text_without_words_and_one_that_is_too_long_have_no_times(tmp_path):
    aligner = with_alignment(baby_model(), tmp_path, bias=0.0)
    frames = {"audio": torch.randn(16, 8), "video": torch.randn(8, 6)}  # four tokens of each
    with torch.inference_mode():
        assert aligner.words("", frames, ["audio"], 0.0, 0.32) == []
        assert len(aligner.words("a b c d", frames, ["audio", "video"], 0.0, 0.32)) == 4
        assert aligner.words("a b c d e", frames, ["audio"], 0.0, 0.32) is None


@torch.inference_mode()
def test_streams_of_tokens_of_other_lengths_are_added_on_the_finer_grid(tmp_path, monkeypatch):
    model = baby_model(audio_rates=[8], video_rates=[2])  # 160 and 80 ms
    aligner = with_alignment(model, tmp_path, bias=10.0)
    fine, coarse = torch.randn(8, 16), torch.randn(4, 16)
    tokens = {"audio": [coarse], "video": [fine]}
    monkeypatch.setattr(model, "project", lambda scale, **batch: tokens)
    frames = {"audio": torch.zeros(32, 8), "video": torch.zeros(16, 6)}
    ids = WordTokenizer()("boat").input_ids
    both, token_s = aligner._scores(frames, ["audio", "video"], ids)
    alone = [aligner._scores(frames, [s], ids)[0] for s in ("audio", "video")]
    assert token_s == 0.08 and both.shape == (8, 2)
    np.testing.assert_allclose(both, np.repeat(alone[0], 2, axis=0) + alone[1], rtol=1e-5)


def test_a_model_without_the_alignment_says_so(tmp_path):
    checkpoint.save(tmp_path, {"w": torch.ones(1)}, Config(), {})
    message = "cannot tell when words are said: it was trained without the CTC alignment"
    with pytest.raises(ValueError, match=message):
        Aligner(SimpleNamespace(streams=["audio"]), None, tmp_path)

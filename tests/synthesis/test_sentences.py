"""Sentences: no two sets share one, and test sentences have only known words."""

import numpy as np
import pytest

from mome.synthesis import sentences


def test_sets_share_no_sentence_and_test_words_are_known():
    rng = np.random.default_rng(0)
    train = sentences.draw(300, "train", rng, sentences.vocabulary())
    known = sentences.words_of(train)
    test = sentences.draw(100, "test", rng, known)
    assert len(set(train)) == 300 and len(set(test)) == 100
    assert not set(train) & set(test) and sentences.words_of(test) <= known


def test_too_few_known_words_are_an_error():
    with pytest.raises(ValueError, match="more training clips"):
        sentences.draw(5, "test", np.random.default_rng(0), {"we", "found", "the", "fish"})

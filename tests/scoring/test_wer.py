"""Error rates: counts by alignment, and texts that do not fit."""

import pytest
from conftest import random_texts

from mome.scoring import wer


def distance(ref: list[str], hyp: list[str]) -> int:
    """Levenshtein's recursion, written out."""
    row = list(range(len(hyp) + 1))
    for r in ref:
        old, row[0] = row[:], row[0] + 1
        for j, h in enumerate(hyp, 1):
            row[j] = min(old[j] + 1, row[j - 1] + 1, old[j - 1] + (r != h))
    return row[-1]


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_the_edit_distance(seed):
    refs, hyps = random_texts(seed)
    total = wer.score(refs, hyps)
    assert total.errors == sum(distance(refs[u].split(), hyps[u].split()) for u in refs)
    assert total.words == sum(len(t.split()) for t in refs.values())
    assert total.correct + total.substitutions + total.deletions == total.words
    assert total.wrong_sentences == sum(refs[u] != hyps[u] for u in refs)


def test_characters_count_spaces_between_words():
    result = wer.score({"a": "ab cd"}, {"a": "abcd"}, split=wer.split_characters)
    assert (result.words, result.errors) == (5, 1)


def test_counts_by_hand():
    total = wer.score({"s-1": "the cat sat", "s-2": "a b"}, {"s-1": "cat sit", "s-2": "a b"})
    assert total == wer.Score(2, 5, 1, 1, 0, 1)
    assert total.rates() == [60.0, 20.0, 20.0, 0.0, 40.0, 50.0]
    assert wer.Score(**total.as_dict()) == total


def test_missing_and_extra_hypotheses_are_errors(refused):
    with refused("no hypothesis", r"1 of 2 utterances \(b\) have no hypothesis"):
        wer.score({"a": "x", "b": "y"}, {"a": "x"})
    with refused("no reference", r"1 of 2 utterances \(c\) have no reference"):
        wer.score({"a": "x"}, {"a": "x", "c": "y"})
    with refused("no speaker", r"1 of 1 utterances \(a\) have no speaker"):
        wer.score({"a": "x"}, {"a": "x"}, utt2spk={})


def test_an_error_names_a_few_utterances_of_many(refused):
    refs = dict.fromkeys("edcba", "x")
    with refused("nothing was decoded", r"5 of 5 utterances \(a, b, c, \.\.\.\) have no hyp"):
        wer.score(refs, {})


def test_order_does_not_matter():
    refs, hyps = random_texts(0)
    assert wer.score(refs, dict(reversed(hyps.items()))) == wer.score(refs, hyps)


def test_empty_texts_are_counted():
    total = wer.score({"a": "x y", "b": ""}, {"a": "", "b": "z"})
    assert (total.words, total.deletions, total.insertions) == (2, 2, 1)
    assert wer.score({"a": ""}, {"a": ""}).error_rate == 0


def test_a_character_that_is_written_in_two_ways_counts_as_one():
    composed, decomposed = "\u00e9t\u00e9", "e\u0301te\u0301"
    assert wer.score({"a": composed}, {"a": decomposed}).errors == 0
    assert wer.score({"a": composed}, {"a": "ete"}).errors == 1


def test_speakers_are_those_of_utt2spk_or_of_the_ids():
    texts = {"x-1": "a", "x-2": "b", "y": "c"}
    assert list(wer.score(texts, texts).by_speaker()) == ["x", "y"]
    by_table = wer.score(texts, texts, utt2spk={"x-1": "p", "x-2": "q", "y": "p"}).by_speaker()
    assert {name: group.sentences for name, group in by_table.items()} == {"p": 2, "q": 1}


def test_counts_are_given_without_a_copy_of_the_alignments():
    class Uncopied(list):
        def __deepcopy__(self, memo):
            raise AssertionError("alignments were copied")

        __copy__ = __deepcopy__

    counts = wer.Score(1, 2, aligned=Uncopied()).as_dict()
    assert counts["words"] == 2 and "aligned" not in counts

"""Alignments: the costs of each, and what they say about words that could be paired in many ways.

tests/scoring/test_sclite.py compares with NIST sclite itself.
"""

import functools

import pytest
from conftest import random_texts

from mome.scoring import align


def least_cost(ref: list[str], hyp: list[str], substitution: int, indel: int) -> int:
    """The cheapest alignment by trying all."""

    @functools.cache
    def cost(i: int, j: int) -> int:
        if not i or not j:
            return indel * (i + j)
        pair = cost(i - 1, j - 1) + (substitution if ref[i - 1] != hyp[j - 1] else 0)
        return min(pair, cost(i - 1, j) + indel, cost(i, j - 1) + indel)

    return cost(len(ref), len(hyp))


@pytest.mark.parametrize(
    "alignment, substitution, indel", [("levenshtein", 1, 1), ("sclite", 4, 3)]
)
@pytest.mark.parametrize("seed", range(3))
def test_alignments_cost_least_and_hold_all_words_in_order(alignment, substitution, indel, seed):
    texts = [[text.split() for text in table.values()] for table in random_texts(seed)]
    for ref, hyp, pairs in zip(*texts, align.align(*texts, alignment), strict=True):
        assert [r for r, _ in pairs if r is not None] == ref
        assert [h for _, h in pairs if h is not None] == hyp
        costs = [0 if r == h else indel if None in (r, h) else substitution for r, h in pairs]
        assert sum(costs) == least_cost(ref, hyp, substitution, indel)


def test_sclite_prefers_an_insertion_and_a_deletion_to_two_substitutions():
    ref, hyp = ["a", "b"], ["b", "c"]
    assert align.align([ref], [hyp], "levenshtein") == [[("a", "b"), ("b", "c")]]
    assert align.align([ref], [hyp], "sclite") == [[("a", None), ("b", "b"), (None, "c")]]


def test_empty_texts_have_alignments():
    for alignment in align.ALIGNMENTS:
        found = align.align([[], ["a"], []], [["b"], [], []], alignment)
        assert found == [[(None, "b")], [("a", None)], []]
    assert align.align([], [], "sclite") == align.align([], [], "levenshtein") == []
    with pytest.raises(ValueError, match="no alignment 'x': there are levenshtein, sclite"):
        align.align([], [], "x")

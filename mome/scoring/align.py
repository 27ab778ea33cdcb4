"""Alignments of a reference and a hypothesis, from which errors are counted.

`levenshtein` has the fewest errors: a substitution, an insertion and a deletion cost 1 each. Its
error rate is the usual one, the word-level edit distance. `sclite` is that of NIST sclite: a
substitution costs 4, an insertion or a deletion 3. It prefers an insertion and a deletion around a
correct word (6) to two substitutions (8). So its numbers of substitutions, deletions and insertions
often differ from the other's; its number of errors is never smaller, and at most a third larger.
"""

import jiwer
import numpy as np

ALIGNMENTS = ("levenshtein", "sclite")
SUBSTITUTION, INSERTION, DELETION = 4, 3, 3  # costs of NIST sclite

Pair = tuple[str | None, str | None]  # reference word, hypothesis word; None is no word


def align(refs: list[list[str]], hyps: list[list[str]], alignment: str) -> list[list[Pair]]:
    """Pair the words of each reference and hypothesis by one of `ALIGNMENTS`."""
    if alignment == "sclite":
        return [align_as_sclite(ref, hyp) for ref, hyp in zip(refs, hyps, strict=True)]
    if alignment != "levenshtein":
        raise ValueError(f"no alignment '{alignment}': there are {', '.join(ALIGNMENTS)}")
    return align_with_fewest_errors(refs, hyps)


def align_with_fewest_errors(refs: list[list[str]], hyps: list[list[str]]) -> list[list[Pair]]:
    """Pair the words of each reference and hypothesis with the fewest errors."""
    if not refs:
        return []
    # jiwer takes texts. Line ends separate the units, because no unit contains one.
    cut = jiwer.Compose([jiwer.ReduceToListOfListOfWords(word_delimiter="\n")])
    found = jiwer.process_words(
        ["\n".join(words) for words in refs],
        ["\n".join(words) for words in hyps],
        reference_transform=cut,
        hypothesis_transform=cut,
    )
    aligned = []
    for ref, hyp, chunks in zip(refs, hyps, found.alignments, strict=True):
        pairs: list[Pair] = []
        for c in chunks:
            r = ref[c.ref_start_idx : c.ref_end_idx]
            h = hyp[c.hyp_start_idx : c.hyp_end_idx]
            length = max(len(r), len(h))  # one of them is empty, or both have this length
            missing: list[None] = [None] * length
            pairs += zip(r or missing, h or missing, strict=True)
        aligned.append(pairs)
    return aligned


def align_as_sclite(ref: list[str], hyp: list[str]) -> list[Pair]:
    """Pair the words as NIST sclite does, which also decides between paths of equal cost.

    Seen from the end of both texts, a pair of words comes before an insertion, and an insertion
    before a deletion.
    """
    number = {word: k for k, word in enumerate({*ref, *hyp})}
    ref_N, hyp_M = (np.array([number[w] for w in words], dtype=np.int64) for words in (ref, hyp))
    ramp_M = INSERTION * np.arange(len(hyp) + 1)
    cost_NM = np.empty((len(ref) + 1, len(hyp) + 1), dtype=np.int64)
    cost_NM[0] = ramp_M
    pair_NM = SUBSTITUTION * (ref_N[:, None] != hyp_M)
    for i, pair_M in enumerate(pair_NM):
        row_M = cost_NM[i] + DELETION
        np.minimum(row_M[1:], cost_NM[i, :-1] + pair_M, out=row_M[1:])
        cost_NM[i + 1] = np.minimum.accumulate(row_M - ramp_M) + ramp_M  # insertions, all at once
    return _back(cost_NM.tolist(), pair_NM.tolist(), ref, hyp)


def _back(
    cost: list[list[int]], pair: list[list[int]], ref: list[str], hyp: list[str]
) -> list[Pair]:
    """The cheapest path through a table of costs, from its end."""
    pairs: list[Pair] = []
    i, j = len(ref), len(hyp)
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + pair[i - 1][j - 1]:
            i, j = i - 1, j - 1
            pairs.append((ref[i], hyp[j]))
        elif j and cost[i][j] == cost[i][j - 1] + INSERTION:
            j -= 1
            pairs.append((None, hyp[j]))
        else:
            i -= 1
            pairs.append((ref[i], None))
    return pairs[::-1]

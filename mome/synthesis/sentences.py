"""Sentences of the mini corpus: seven patterns, filled with 213 words.

A hash of its text decides whether a sentence is for training, validation or test. So no two sets
share a sentence, for any seed and any sizes. A tenth of all sentences is for validation, a tenth
for test. Validation and test sentences use only words of the training sentences.
"""

import zlib
from collections.abc import Iterable

import numpy as np

LISTS = {
    "determiner": "the a my your this that our some one his her every",
    "adjective": (
        "small big green yellow old wooden fast quiet bright busy simple final heavy young purple "
        "rough thick smooth brave black white warm cold happy empty broken famous local modern "
        "narrow orange perfect private rapid silver strange sweet tiny wild"
    ),
    "noun": (
        "boat river team market bottle village father mother paper window music coffee friend "
        "garden kitchen station doctor teacher journey question problem morning office shop bridge "
        "cup watch fish leaf voice wolf judge church thumb camera dinner engine farmer finger "
        "flower forest guitar hammer island jacket ladder letter machine mirror mountain number "
        "ocean pencil picture planet pocket rabbit rocket school shadow soldier spider summer "
        "table temple ticket tiger tower train valley video winter writer yard zebra animal "
        "captain chicken dragon film game hospital lake moon prize road ship song storm"
    ),
    "verb": (
        "found liked bought followed watched believed moved built chose showed finished crossed "
        "visited measured brought shared wrapped carried cleaned covered described enjoyed fixed "
        "forgot guarded helped ignored joined killed lost loved missed opened painted passed "
        "pushed remembered saved sold stopped touched used wanted washed"
    ),
    "preposition": "before after near under with without behind above inside beside",
    "adverb": "today now again yesterday often together outside early alone finally",
    "pronoun": "we they she he you i",
}

WORDS = {kind: words.split() for kind, words in LISTS.items()}
PATTERNS = [
    pattern.split()
    for pattern in (
        "pronoun verb determiner noun",
        "determiner noun verb determiner noun",
        "determiner adjective noun verb determiner noun adverb",
        "pronoun verb determiner adjective noun preposition determiner noun",
        "determiner noun preposition determiner noun was adjective and adjective",
        "pronoun verb determiner noun and verb determiner noun adverb",
        "adverb pronoun verb determiner adjective noun",
    )
]
EVALUATION_SETS = {0: "test", 1: "valid"}  # by the hash modulo 10; other hashes are for training
MAX_TRIES = 2000  # draws for one sentence


def set_of(sentence: str) -> str:
    """The set that a sentence belongs to: train, valid or test."""
    return EVALUATION_SETS.get(zlib.crc32(sentence.encode()) % 10, "train")


def vocabulary() -> set[str]:
    """All words that sentences are made of."""
    return set().union(*WORDS.values(), {"an", "was", "and"})


def draw(num: int, set_name: str, rng: np.random.Generator, known: set[str]) -> list[str]:
    """Draw `num` different sentences of a set that use only `known` words.

    Raises ValueError when the known words do not give that many.
    """
    lists = {kind: [w for w in words if w in known] for kind, words in WORDS.items()}
    patterns = [p for p in PATTERNS if all(lists.get(kind, kind in known) for kind in p)]
    sentences: dict[str, None] = {}  # a set that keeps the order
    for _ in range(num):
        for _ in range(MAX_TRIES if patterns else 0):
            sentence = fill(patterns[rng.integers(len(patterns))], lists, rng)
            if (
                set_of(sentence) == set_name
                and sentence not in sentences
                and words_of(sentence) <= known
            ):
                sentences[sentence] = None
                break
        else:
            raise ValueError(
                f"the {len(known)} words of the training sentences give only {len(sentences)} of"
                f" {num} {set_name} sentences: ask for more training clips or fewer others"
            )
    return list(sentences)


def fill(pattern: list[str], lists: dict[str, list[str]], rng: np.random.Generator) -> str:
    """A sentence of a pattern, with words drawn for each kind of word."""
    words = [
        lists[kind][rng.integers(len(lists[kind]))] if kind in lists else kind for kind in pattern
    ]
    for i, following in enumerate(words[1:]):
        if words[i] == "a" and following[0] in "aeio":  # no adjective or noun begins with u
            words[i] = "an"
    return " ".join(words)


def words_of(sentences: str | Iterable[str]) -> set[str]:
    """The words of a sentence, or of many."""
    return set((sentences if isinstance(sentences, str) else " ".join(sentences)).split())

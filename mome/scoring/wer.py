"""Word, character and token error rates.

References and hypotheses are joined by utterance id. Texts are compared as they are: neither case
nor punctuation is changed (`mome.scoring.texts` does that on demand). Only Unicode is normalised
(NFC), so that a character that can be written in two ways counts as one. Words are separated by
spaces: "don't" is one word. `mome.scoring.align` explains the two alignments.
"""

import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mome.scoring.align import align

COLUMNS = ["Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err"]  # of ESPnet and of sclite
NAMED_IN_ERRORS = 3  # utterances


@dataclass(frozen=True)
class Aligned:
    """An aligned utterance: pairs (reference word, hypothesis word), with None for no word."""

    utterance: str
    speaker: str
    pairs: list[tuple[str | None, str | None]]

    def words(self, side: int) -> list[str]:
        """The words of the reference (`side` 0) or of the hypothesis (1)."""
        return [word for pair in self.pairs if (word := pair[side]) is not None]

    def score(self) -> "Score":
        """The counts of this utterance."""
        substitutions = sum(r is not None and h is not None and r != h for r, h in self.pairs)
        deletions = sum(h is None for _, h in self.pairs)
        insertions = sum(r is None for r, _ in self.pairs)
        wrong = int(substitutions + deletions + insertions > 0)
        words = len(self.pairs) - insertions
        return Score(1, words, substitutions, deletions, insertions, wrong)


@dataclass(frozen=True)
class Score:
    """Numbers of sentences, words and errors of an utterance, a speaker or a set."""

    sentences: int = 0
    words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    wrong_sentences: int = 0
    aligned: list[Aligned] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def of(cls, aligned: list[Aligned]) -> "Score":
        """The sums over utterances."""
        if not aligned:
            return cls()
        sums = [sum(part) for part in zip(*(a.score()._sums() for a in aligned), strict=True)]
        return replace(cls(*sums[:6]), aligned=aligned)

    @property
    def correct(self) -> int:
        return self.words - self.substitutions - self.deletions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def error_rate(self) -> float:
        """Errors in per cent of the reference words."""
        return per_cent(self.errors, self.words)

    @property
    def sentence_error_rate(self) -> float:
        """Sentences with an error in per cent of all sentences."""
        return per_cent(self.wrong_sentences, self.sentences)

    def counts(self) -> list[int]:
        """The values of `COLUMNS` as numbers of sentences and words."""
        words = [self.correct, self.substitutions, self.deletions, self.insertions, self.errors]
        return [self.sentences, self.words, *words, self.wrong_sentences]

    def rates(self) -> list[float]:
        """The values of `COLUMNS` from the third on, in per cent of words; S.Err of sentences."""
        words = [per_cent(n, self.words) for n in self.counts()[2:-1]]
        return [*words, self.sentence_error_rate]

    def by_speaker(self) -> dict[str, "Score"]:
        """The score of each speaker, sorted by name."""
        groups: dict[str, list[Aligned]] = {}
        for a in sorted(self.aligned, key=lambda a: a.speaker):
            groups.setdefault(a.speaker, []).append(a)
        return {speaker: Score.of(group) for speaker, group in groups.items()}

    def as_dict(self) -> dict[str, int]:
        """The counts without the alignments, for a file; `Score(**counts)` reads them."""
        return {name: n for name, n in vars(self).items() if name != "aligned"}

    def _sums(self) -> list[int]:
        return list(self.as_dict().values())


def per_cent(part: int, whole: int) -> float:
    """`part` of `whole` in per cent; if `whole` is 0, it is 0 for no part and infinite for any."""
    if whole == 0:
        return 0.0 if part == 0 else float("inf")
    return 100 * part / whole


def one_digit(value: float) -> str:
    """A rate with one digit after the point. Halves are rounded up, as in sclite."""
    return f"{math.floor(10 * value + 0.5) / 10:.1f}" if math.isfinite(value) else str(value)


def score(
    refs: dict[str, str],
    hyps: dict[str, str],
    utt2spk: dict[str, str] | None = None,
    split: Callable[[str], list[str]] = str.split,
    alignment: str = "levenshtein",
) -> Score:
    """Compare hypotheses with references, both utterance id -> text.

    Args:
        utt2spk: the speaker of each utterance; by default the part of its id before the last `-`.
        split: splits a text into the units to count: words, `split_characters`, or the pieces of a
            tokenizer.
        alignment: `levenshtein`, with the fewest errors, or `sclite`; see `mome.scoring.align`.

    Raises ValueError when an utterance has no hypothesis or speaker, or a hypothesis has no
    reference; the error counts them and names the first ones.
    """
    faults = [f"{count_and_names(refs.keys() - hyps.keys(), len(refs))} have no hypothesis"]
    faults += [f"{count_and_names(hyps.keys() - refs.keys(), len(hyps))} have no reference"]
    if utt2spk is not None:
        faults += [f"{count_and_names(refs.keys() - utt2spk.keys(), len(refs))} have no speaker"]
    faults = [fault for fault in faults if not fault.startswith("0 ")]
    if faults:
        raise ValueError(
            f"{'; '.join(faults)}: each utterance needs a reference, a hypothesis and a speaker"
        )
    utterances = sorted(refs)
    units = [[split(normalised(texts[u])) for u in utterances] for texts in (refs, hyps)]
    pairs = align(units[0], units[1], alignment)
    speakers = utt2spk if utt2spk is not None else {u: speaker_of(u) for u in utterances}
    return Score.of([Aligned(u, speakers[u], p) for u, p in zip(utterances, pairs, strict=True)])


def count_and_names(utterances: set[str], total: int) -> str:
    """`4 of 10 utterances (a, b, c, ...)`."""
    names = sorted(utterances)[:NAMED_IN_ERRORS]
    names += ["..."] * (len(utterances) > NAMED_IN_ERRORS)
    return f"{len(utterances)} of {total} utterances ({', '.join(names)})"


def normalised(text: str) -> str:
    """The text in Unicode's normal form NFC."""
    return unicodedata.normalize("NFC", text)


def speaker_of(utterance: str) -> str:
    """`<speaker>` of `<speaker>-<clip>`."""
    return utterance.rpartition("-")[0] or utterance


def split_characters(text: str) -> list[str]:
    """The characters of a text; a space between words is `<space>`."""
    return ["<space>" if c == " " else c for c in " ".join(text.split())]

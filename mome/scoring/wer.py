"""Word, character and token error rates, and reports in sclite's form.

References and hypotheses are joined by utterance id, and compared as they are: nothing is folded or
removed, only characters written in two ways in Unicode are made one. A word is what stands between
spaces (don't is one). jiwer aligns them.

NIST sclite may count otherwise. jiwer finds the alignment with the fewest errors; sclite the one
that is cheapest when a substitution costs 4 and an insertion or deletion 3, so it prefers an
insertion and a deletion around a word in common (6) to two substitutions (8). Its split into the
three kinds differs more often than its sum, and its sum is never smaller (nor over 4/3 as large).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median, stdev

import jiwer

COLUMNS = ["Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err"]  # ESPnet's and sclite's
MOST = 50  # confusions, insertions and deletions listed
SHOWN = 3  # utterances named in an error


@dataclass(frozen=True)
class Aligned:
    """One utterance: (reference, hypothesis) pairs of words, None on the side that has none."""

    utterance: str
    speaker: str
    pairs: list[tuple[str | None, str | None]]

    def score(self) -> "Score":
        substitutions = sum(r is not None and h is not None and r != h for r, h in self.pairs)
        deletions = sum(h is None for _, h in self.pairs)
        insertions = sum(r is None for r, _ in self.pairs)
        wrong = int(substitutions + deletions + insertions > 0)
        words = len(self.pairs) - insertions
        return Score(1, words, substitutions, deletions, insertions, wrong)


@dataclass(frozen=True)
class Score:
    """Sentences, words, and the errors among them, of an utterance, a speaker or a set."""

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
        parts = zip(*(a.score()._counted() for a in aligned), strict=True)
        return cls(*map(sum, parts), aligned=aligned) if aligned else cls()

    @property
    def correct(self) -> int:
        return self.words - self.substitutions - self.deletions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def error_rate(self) -> float:
        """Errors in per cent of the words of the reference."""
        return per_cent(self.errors, self.words)

    @property
    def sentence_error_rate(self) -> float:
        """Sentences with an error, in per cent."""
        return per_cent(self.wrong_sentences, self.sentences)

    def counts(self) -> list[int]:
        """`COLUMNS`, as numbers of sentences and words."""
        words = [self.correct, self.substitutions, self.deletions, self.insertions, self.errors]
        return [self.sentences, self.words, *words, self.wrong_sentences]

    def rates(self) -> list[float]:
        """`COLUMNS` but the first two, in per cent of the words; S.Err of the sentences."""
        words = [per_cent(n, self.words) for n in self.counts()[2:-1]]
        return [*words, self.sentence_error_rate]

    def by_speaker(self) -> dict[str, "Score"]:
        """The score of each speaker, sorted."""
        groups: dict[str, list[Aligned]] = {}
        for a in sorted(self.aligned, key=lambda a: a.speaker):
            groups.setdefault(a.speaker, []).append(a)
        return {speaker: Score.of(group) for speaker, group in groups.items()}

    def as_dict(self) -> dict[str, int]:
        """The counts alone, to be kept in a file; `Score(**it)` has them again."""
        return {name: n for name, n in asdict(self).items() if name != "aligned"}

    def _counted(self) -> list[int]:
        return [n for name, n in vars(self).items() if name != "aligned"]


def per_cent(part: int, whole: int) -> float:
    """`part` of `whole` in per cent; of nothing, 0 or infinite."""
    if whole == 0:
        return 0.0 if part == 0 else float("inf")
    return 100 * part / whole


def score(
    refs: dict[str, str],
    hyps: dict[str, str],
    utt2spk: dict[str, str] | None = None,
    split: Callable[[str], list[str]] = str.split,
) -> Score:
    """Compare hypotheses with references, both utterance id -> text.

    Args:
        utt2spk: who speaks, for the report; by default what stands before the last `-` of the id.
        split: a text to what is counted: its words, `split_characters`, or pieces of a tokenizer.

    Raises ValueError when an utterance has no hypothesis (or speaker), or a hypothesis no
    reference; it says how many there are and names the first.
    """
    faults = [f"{count_and_names(refs.keys() - hyps.keys(), len(refs))} have no hypothesis"]
    faults += [f"{count_and_names(hyps.keys() - refs.keys(), len(hyps))} have no reference"]
    if utt2spk is not None:
        faults += [f"{count_and_names(refs.keys() - utt2spk.keys(), len(refs))} have no speaker"]
    faults = [fault for fault in faults if not fault.startswith("0 ")]
    if faults:
        raise ValueError(f"{'; '.join(faults)}; both must hold the same set")
    utterances = sorted(refs)
    pairs = align(*([split(normal(texts[u])) for u in utterances] for texts in (refs, hyps)))
    speakers = utt2spk if utt2spk is not None else {u: speaker_of(u) for u in utterances}
    return Score.of(
        [Aligned(u, speakers[u], p) for u, p in zip(utterances, pairs, strict=True)],
    )


def count_and_names(utterances: set[str], total: int) -> str:
    """`4 of 10 utterances (a, b, c, ...)`."""
    names = sorted(utterances)[:SHOWN] + ["..."] * (len(utterances) > SHOWN)
    return f"{len(utterances)} of {total} utterances ({', '.join(names)})"


def normal(text: str) -> str:
    """One way to write each character (Unicode's NFC)."""
    return unicodedata.normalize("NFC", text)


def speaker_of(utterance: str) -> str:
    """`<speaker>` of `<speaker>-<clip>`."""
    return utterance.rpartition("-")[0] or utterance


def split_characters(text: str) -> list[str]:
    """Characters of a text, spaces between words as `<space>`."""
    return ["<space>" if c == " " else c for c in " ".join(text.split())]


def align(
    refs: list[list[str]], hyps: list[list[str]]
) -> list[list[tuple[str | None, str | None]]]:
    """Pair the words of each reference and hypothesis, with the fewest errors; None: no word."""
    if not refs:
        return []
    # jiwer takes texts: line ends stand between words, as no word or piece holds one.
    cut = jiwer.Compose([jiwer.ReduceToListOfListOfWords(word_delimiter="\n")])
    found = jiwer.process_words(
        ["\n".join(words) for words in refs],
        ["\n".join(words) for words in hyps],
        reference_transform=cut,
        hypothesis_transform=cut,
    )
    aligned = []
    for ref, hyp, chunks in zip(refs, hyps, found.alignments, strict=True):
        pairs: list[tuple[str | None, str | None]] = []
        for c in chunks:
            r = ref[c.ref_start_idx : c.ref_end_idx]
            h = hyp[c.hyp_start_idx : c.hyp_end_idx]
            length = max(len(r), len(h))  # one of them is empty, or they are of one length
            pairs += zip(r or [None] * length, h or [None] * length, strict=True)
        aligned.append(pairs)
    return aligned


# What sclite reads and writes.


def trn_id(a: Aligned) -> str:
    """`speaker-utterance`; ids begin with the speaker already, in a Kaldi data directory."""
    return a.utterance if a.utterance.startswith(a.speaker) else f"{a.speaker}-{a.utterance}"


def trn(result: Score, side: int) -> str:
    """Lines `words (speaker-utterance)`; side 0 is the reference, 1 the hypothesis."""
    lines = []
    for a in result.aligned:
        words = [pair[side] for pair in a.pairs if pair[side] is not None]
        lines.append(f"{' '.join(words)} ({trn_id(a)})\n")
    return "".join(lines)


def read_trn(path: Path) -> dict[str, str]:
    """The texts of a trn file by id."""
    lines = path.read_text(encoding="utf-8").split("\n")
    found = [re.fullmatch(r"(.*)\(([^()]*)\)\s*", line) for line in lines if line.strip()]
    return {m[2]: m[1].strip() for m in found if m}


def result_text(result: Score, title: str) -> str:
    """The text of result.txt, what `sclite -o all` writes: sums, alignments, frequent errors."""
    parts = [summary(result, title, in_per_cent=True), summary(result, title, in_per_cent=False)]
    for k, (speaker, group) in enumerate(result.by_speaker().items()):
        parts.append(f"Speaker sentences {k:3}:  {speaker}   #utts: {group.sentences}")
        parts += [alignment(a) for a in group.aligned]
    return "\n\n".join([*parts, frequent_errors(result)]) + "\n"


def summary(result: Score, title: str, in_per_cent: bool) -> str:
    """sclite's table: a row per speaker, their sum, mean, standard deviation and median."""
    speakers = result.by_speaker()
    rows = [[name, *cells(s, in_per_cent)] for name, s in speakers.items()]
    total = [["Sum/Avg" if in_per_cent else "Sum", *cells(result, in_per_cent)]]
    spread = []
    for name, over in (("Mean", mean), ("S.D.", deviation), ("Median", median)):
        spread.append([name, *spread_cells(list(speakers.values()), over, in_per_cent)])
    head = ["SPKR", "# Snt", "# Wrd ", *(f"{c} " for c in COLUMNS[2:])]
    every = [head, *rows, *total, *spread]
    least = [0, 6, 7, 6, *[7] * 5]
    widths = [max(w, *(len(row[k]) for row in every)) for k, w in enumerate(least)]

    def line(row: list[str]) -> str:
        texts = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        return f"| {row[0].ljust(widths[0])} |{''.join(texts[:2])}|{''.join(texts[2:])}|"

    inside = len(line(head)) - 2
    kind = "PERCENTAGES" if in_per_cent else "COUNTS"
    rule = line(["", *[""] * 8]).replace(" ", "-").replace("|", "+")[1:-1]
    out = [f"SYSTEM SUMMARY {kind} by SPEAKER".center(inside + 2).rstrip(), ""]
    out += [f",{'-' * inside},", f"|{title[-inside:].center(inside)}|", f"|{'-' * inside}|"]
    out += [line(head), *(text for row in rows for text in (f"|{rule}|", line(row)))]
    out += [f"|{'=' * inside}|", line(total[0]), f"|{'=' * inside}|"]
    out += [*map(line, spread), f"`{'-' * inside}'"]
    if in_per_cent and any(s.words == 0 for s in speakers.values()):
        out += ["* No words in the references of this speaker: counts, not per cent."]
        out += ["+ Over the other speakers."]
    return "\n".join(out)


def cells(s: Score, in_per_cent: bool) -> list[str]:
    """The columns of a row; behind each number a blank, or the mark of a note."""
    if not in_per_cent:
        return [f"{n} " for n in s.counts()]
    marked = [f"{r:.1f} " for r in s.rates()]
    if s.words == 0:
        marked[:-1] = [f"{n}*" for n in s.counts()[2:-1]]
    return [*(f"{n} " for n in s.counts()[:2]), *marked]


def spread_cells(speakers: list[Score], over: Callable, in_per_cent: bool) -> list[str]:
    """The columns of a row of means, or the like, over speakers."""
    if not in_per_cent:
        return [f"{over(column):.1f} " for column in _columns(s.counts() for s in speakers)]
    spoken = [s for s in speakers if s.words]
    mark = " " if len(spoken) == len(speakers) else "+"
    sizes = _columns(s.counts()[:2] for s in speakers)
    rates = _columns(s.rates()[:-1] for s in spoken) or [[0.0]] * 5
    wrong = [s.sentence_error_rate for s in speakers] or [0.0]
    marked = [f"{over(column):.1f}{mark}" for column in rates]
    return [*(f"{over(c):.1f} " for c in sizes), *marked, f"{over(wrong):.1f} "]


def _columns(rows: Iterable[list]) -> list[list]:
    return [list(column) for column in zip(*rows, strict=True)]


def deviation(values: list[float]) -> float:
    """Standard deviation; 0 of a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def alignment(a: Aligned) -> str:
    """Id, scores, and the words in columns, wrong ones in upper case and marked S, D or I."""
    rows = ["REF: ", "HYP: ", "Eval:"]
    for r, h in a.pairs:
        mark = "" if r == h else "I" if r is None else "D" if h is None else "S"
        shown = [word and (word.upper() if mark else word) for word in (r, h)]
        width = max(len(word or "") for word in shown)
        column = [*("*" * width if word is None else word for word in shown), mark]
        rows = [f"{row} {text.ljust(width)}" for row, text in zip(rows, column, strict=True)]
    s = a.score()
    counts = f"{s.correct} {s.substitutions} {s.deletions} {s.insertions}"
    head = [f"id: ({trn_id(a)})", f"Scores: (#C #S #D #I) {counts}"]
    return "\n".join([*head, *(row.rstrip() for row in rows)])


def frequent_errors(result: Score) -> str:
    """Confusions, insertions and deletions, the most frequent first."""
    pairs = [(r, h) for a in result.aligned for r, h in a.pairs if r != h]
    out = []
    for name, found in (
        ("CONFUSION PAIRS", [f"{r} ==> {h}" for r, h in pairs if None not in (r, h)]),
        ("INSERTIONS", [h for r, h in pairs if r is None]),
        ("DELETIONS", [r for r, h in pairs if h is None]),
    ):
        counts = sorted(Counter(found).items(), key=lambda item: (-item[1], item[0]))
        listed = f", the first {MOST}" if len(counts) > MOST else ""
        out += [f"{name:32} Total ({len(counts)}), occurrences ({len(found)}){listed}", ""]
        out += [f"{k:4}: {n:4}  ->  {what}" for k, (what, n) in enumerate(counts[:MOST], 1)]
        out += ["     -------", f"{sum(n for _, n in counts[:MOST]):10}", "", ""]
    return "\n".join(out).rstrip()

"""Word, character and token error rates, and reports as sclite writes them.

References and hypotheses are joined by utterance id. jiwer aligns. NIST sclite weighs a
substitution 4 and an insertion or deletion 3 each, jiwer all of them 1: errors in all may differ by
a few where sclite prefers an insertion and a deletion to two substitutions; jiwer's are the fewest.
"""

from collections import Counter
from dataclasses import dataclass, field

import jiwer


@dataclass(frozen=True)
class Aligned:
    """One utterance: (reference, hypothesis) pairs of words, None on the side that has none."""

    utterance: str
    speaker: str
    pairs: list[tuple[str | None, str | None]]

    @property
    def counts(self) -> "Counts":
        subs = sum(r != h and r is not None and h is not None for r, h in self.pairs)
        dels, ins = sum(h is None for _, h in self.pairs), sum(r is None for r, _ in self.pairs)
        words = sum(r is not None for r, _ in self.pairs)
        return Counts(1, words, subs, dels, ins, int(subs + dels + ins > 0))


@dataclass(frozen=True)
class Counts:
    """Sentences, words, and errors among them; the rates are per cent of words or sentences."""

    sentences: int = 0
    words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    wrong_sentences: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            *(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def correct(self) -> int:
        return self.words - self.substitutions - self.deletions

    @property
    def error_rate(self) -> float:
        """Err, per cent."""
        return percent(self.errors, self.words)

    def rates(self) -> list[float]:
        """Corr, Sub, Del, Ins, Err and S.Err, per cent: ESPnet's columns after Snt and Wrd."""
        parts = [self.correct, self.substitutions, self.deletions, self.insertions, self.errors]
        sentences = percent(self.wrong_sentences, self.sentences)
        return [*(percent(n, self.words) for n in parts), sentences]


def percent(part: int, whole: int) -> float:
    """`part` of `whole` in per cent; of nothing, 0 or infinite."""
    if whole == 0:
        return 0.0 if part == 0 else float("inf")
    return 100 * part / whole


@dataclass(frozen=True)
class Score:
    """What `score` returns: the counts of all, and each utterance's alignment."""

    total: Counts
    aligned: list[Aligned] = field(repr=False)

    @property
    def error_rate(self) -> float:
        return self.total.error_rate


def score(
    refs: dict[str, str],
    hyps: dict[str, str],
    utt2spk: dict[str, str] | None = None,
    unit: str = "word",
    tokenise=None,
) -> Score:
    """Compare hypotheses with references, both utterance id -> text.

    Args:
        utt2spk: speakers, for the report; by default what stands before the first `-` of the id.
        unit: "word", "char" (a space counts as one), or "token" with `tokenise`: text -> pieces.

    Raises ValueError when an utterance has no hypothesis, or a hypothesis no reference.
    """
    missing, extra = sorted(refs.keys() - hyps.keys()), sorted(hyps.keys() - refs.keys())
    for odd, what in ((missing, "no hypothesis"), (extra, "a hypothesis but no reference")):
        if odd:
            raise ValueError(
                f"{len(odd)} utterances have {what}, such as {', '.join(odd[:3])}: decode the same"
                " set that is scored"
            )
    split = {"word": str.split, "char": split_characters, "token": tokenise}[unit]
    aligned = []
    for utterance in sorted(refs, key=str.encode):
        speaker = (utt2spk or {}).get(utterance) or utterance.split("-")[0]
        aligned.append(
            Aligned(utterance, speaker, align(split(refs[utterance]), split(hyps[utterance])))
        )
    return Score(sum((a.counts for a in aligned), Counts()), aligned)


def split_characters(text: str) -> list[str]:
    """Characters of a text, spaces between words as `<space>`."""
    return ["<space>" if c == " " else c for c in " ".join(text.split())]


def align(ref: list[str], hyp: list[str]) -> list[tuple[str | None, str | None]]:
    """Pair words with the fewest errors; None stands for a word that is not there."""
    if not ref:
        return [(None, h) for h in hyp]
    # jiwer takes texts: words become letters of a private alphabet, so no word can be split.
    code: dict[str, str] = {}
    for word in [*ref, *hyp]:
        code.setdefault(word, chr(0xE000 + len(code)))
    chunks = jiwer.process_words(
        " ".join(code[w] for w in ref), " ".join(code[w] for w in hyp)
    ).alignments[0]
    pairs: list[tuple[str | None, str | None]] = []
    for c in chunks:
        r, h = ref[c.ref_start_idx : c.ref_end_idx], hyp[c.hyp_start_idx : c.hyp_end_idx]
        if c.type == "insert":
            pairs += [(None, word) for word in h]
        elif c.type == "delete":
            pairs += [(word, None) for word in r]
        else:
            pairs += list(zip(r, h, strict=True))
    return pairs


def trn(texts: dict[str, list[str]], utt2spk: dict[str, str]) -> str:
    """Lines `words (speaker-utterance)`, as sclite reads them, sorted by utterance."""
    lines = []
    for utterance in sorted(texts, key=str.encode):
        name = utterance
        if not utterance.startswith(f"{utt2spk[utterance]}-"):
            name = f"{utt2spk[utterance]}-{utterance}"
        lines.append(f"{' '.join(texts[utterance])} ({name})\n")
    return "".join(lines)


def report(result: Score, title: str) -> str:
    """The text of result.txt: summary by speaker, confusions, and every alignment."""
    speakers: dict[str, Counts] = {}
    for a in result.aligned:
        speakers[a.speaker] = speakers.get(a.speaker, Counts()) + a.counts
    rows = [[s, *_cells(c)] for s, c in sorted(speakers.items())]
    total = ["Sum/Avg", *_cells(result.total)]
    head = ["SPKR", "# Snt", "# Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err"]
    widths = [max(len(r[k]) for r in [head, *rows, total]) for k in range(len(head))]

    def line(cells: list[str]) -> str:
        texts = [
            c.ljust(w) if k == 0 else c.rjust(w)
            for k, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {texts[0]} | {' '.join(texts[1:3])} | {' '.join(texts[3:])} |"

    rule = "|" + "-" * (len(line(head)) - 2) + "|"
    out = [f"SYSTEM SUMMARY PERCENTAGES by SPEAKER: {title}", "", rule, line(head), rule]
    out += [line(r) for r in rows] + [rule, line(total), rule, ""]
    pairs = [p for a in result.aligned for p in a.pairs if p[0] != p[1]]
    for name, chosen in (
        ("CONFUSION PAIRS", [f"{r} ==> {h}" for r, h in pairs if r and h]),
        ("INSERTIONS", [h for r, h in pairs if r is None]),
        ("DELETIONS", [r for r, h in pairs if h is None]),
    ):
        counts = Counter(chosen).most_common(20)
        out += [
            f"{name}  Total ({len(set(chosen))}), occurrences ({len(chosen)}), most frequent first"
        ]
        out += [f"{n:5}  ->  {what}" for what, n in counts] + [""]
    for a in result.aligned:
        c = a.counts
        out += [
            f"id: ({a.utterance})",
            f"Scores: (#C #S #D #I) {c.correct} {c.substitutions} {c.deletions} {c.insertions}",
            *_alignment(a),
            "",
        ]
    return "\n".join(out) + "\n"


def _cells(counts: Counts) -> list[str]:
    return [str(counts.sentences), str(counts.words), *(f"{r:.1f}" for r in counts.rates())]


def _alignment(a: Aligned) -> list[str]:
    """REF, HYP and Eval lines; errors in upper case, as sclite shows them."""
    ref, hyp, marks = [], [], []
    for r, h in a.pairs:
        mark = "" if r == h else "I" if r is None else "D" if h is None else "S"
        width = max(len(r or ""), len(h or ""), 1)
        ref.append(("*" * width if r is None else r.upper() if mark else r).ljust(width))
        hyp.append(("*" * width if h is None else h.upper() if mark else h).ljust(width))
        marks.append(mark.ljust(width))
    return [f"REF:  {' '.join(ref)}", f"HYP:  {' '.join(hyp)}", f"Eval: {' '.join(marks)}".rstrip()]

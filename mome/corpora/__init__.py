"""Corpora: one file each, its layout and its quirks; here, the text files that they share.

    Text:  THE WORDS IN UPPER CASE
    Conf:  4
    Ref:   where it is from

    FRAME X Y W H
    000001 0.25 0.10 0.40 0.40

    WORD START END ASDSCORE
    THE 0.00 0.12 8.2

Any section may be missing, and columns are found by their names.
"""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mome.data.datadir import Clip

MARKS = re.compile(r"\{[^}]*\}")  # {LG}, {NS}: laughter, noise
NOT_A_WORD = re.compile(r"[^\w']|_")


@dataclass(frozen=True)
class Word:
    """A word, as `normalise` gives it, and its time in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class TextFile:
    """What a text file says: `text` is normalised, "" when there is none; `words` empty, likewise.

    `headers` holds the lines `Name: value`, as they stand.
    """

    text: str
    headers: dict[str, str] = field(default_factory=dict)
    words: list[Word] = field(default_factory=list)


def normalise(text: str) -> str:
    """Lower case, no marks in braces, no punctuation but apostrophes, single spaces."""
    text = MARKS.sub(" ", text.replace("\u2019", "'")).lower()
    words = NOT_A_WORD.sub(" ", text).split()
    return " ".join(word for word in words if word.strip("'"))


def read_text_file(path: str | Path) -> TextFile:
    """Read a text file of LRS2, LRS3 or mini. ValueError names the file and the line at fault."""
    headers: dict[str, str] = {}
    words: list[Word] = []
    columns: list[str] = []  # of the section that the line is in
    for line in Path(path).read_text(encoding="utf-8-sig").splitlines():
        name, colon, value = line.partition(":")
        parts = line.split()
        if not parts:
            columns = []
        elif colon and not columns:
            headers[name.strip()] = value.strip()
        elif not columns:
            columns = [part.upper() for part in parts]
        elif "WORD" in columns:
            words += read_word(path, line, dict(zip(columns, parts, strict=False)))
    return TextFile(normalise(headers.get("Text", "")), headers, words)


def read_word(path: str | Path, line: str, row: dict[str, str]) -> list[Word]:
    """The word of a line; none when it is only a mark."""
    try:
        word, start, end = normalise(row["WORD"]), float(row["START"]), float(row["END"])
    except (KeyError, ValueError):
        raise ValueError(f"{path}: '{line}' does not give a WORD, its START and its END") from None
    return [Word(word, start, end)] if word else []


def pieces(words: list[Word], max_seconds: float) -> list[tuple[float, float | None, str]]:
    """Cut a long clip between words: (start, end, text) of pieces of at most `max_seconds`.

    In seconds; the first starts at 0 and the last ends with the clip, None. Pieces are about
    equally long. ValueError when a word and the silence around it are longer than a piece may be.
    """
    total = words[-1].end
    # Between two words, the middle of what is between them.
    gaps = [(a.end + b.start) / 2 for a, b in itertools.pairwise(words)]
    for count in range(math.ceil(total / max_seconds), len(words) + 1):
        cuts = []
        for k in range(1, count):
            later = [i for i in range(len(gaps)) if not cuts or i > cuts[-1]]
            if later:
                cuts.append(min(later, key=lambda i: abs(gaps[i] - k * total / count)))
        bounds = [0.0, *(gaps[i] for i in cuts), total]
        if all(b - a <= max_seconds for a, b in itertools.pairwise(bounds)):
            firsts = [0, *(i + 1 for i in cuts), len(words)]
            return [
                (
                    bounds[k],
                    bounds[k + 1] if k + 1 < len(firsts) - 1 else None,
                    " ".join(w.word for w in words[firsts[k] : firsts[k + 1]]),
                )
                for k in range(len(firsts) - 1)
            ]
    raise ValueError(f"it cannot be cut into pieces of at most {max_seconds:g} s between words")


def clips_of_folder(
    folder: Path, utterance: str, max_seconds: float | None = None
) -> Iterator[Clip]:
    """The clips `<5 digits>.{mp4,txt}` of a folder, which is a speaker's; ids `<utterance>-<clip>`.

    Upper-case extensions count. A text without a clip is given, too: its clip does not exist, which
    is told where it is read. With `max_seconds`, longer clips are given in pieces.
    """
    media, texts = {}, {}
    for path in folder.iterdir():
        for suffix, found in ((".mp4", media), (".txt", texts)):
            if path.suffix.lower() == suffix and not path.name.startswith("."):
                found[path.stem] = path
    for stem in sorted(media.keys() | texts.keys()):
        media_path = media.get(stem, folder / f"{stem}.mp4")
        yield from clips_at(media_path, texts.get(stem), utterance, max_seconds)


def clips_at(
    media_path: Path, text_path: Path | None, speaker: str, max_seconds: float | None
) -> Iterator[Clip]:
    """A clip, whole or in pieces; its reader tells what is wrong with it when it comes to that."""
    name = f"{speaker}-{media_path.stem}"
    if text_path is None:
        yield Clip(name, speaker, media_path, "")
        return
    try:
        about = read_text_file(text_path)
        if max_seconds is None or not about.words or about.words[-1].end <= max_seconds:
            limit = None if about.words else max_seconds
            yield Clip(name, speaker, media_path, about.text, max_seconds=limit)
            return
        for k, (start, end, text) in enumerate(pieces(about.words, max_seconds)):
            yield Clip(f"{name}-{k:02d}", speaker, media_path, text, times=(start, end))
    except ValueError as error:
        yield Clip(name, speaker, media_path, "", fault=f"{text_path}: {error}")


@dataclass(frozen=True)
class Coverage:
    """How much of a split is there: clips with media and text, and how many it should have."""

    split: str
    found: int
    expected: int

    @property
    def missing(self) -> int:
        return self.expected - self.found

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

import re
from dataclasses import dataclass, field
from pathlib import Path

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

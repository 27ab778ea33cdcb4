"""The text files of LRS2, LRS3 and mini, and the clips that they describe.

    Text:  THE WORDS IN UPPER CASE
    Conf:  4
    Ref:   0Fi83BHQsMA

    FRAME X Y W H
    000001 0.25 0.10 0.40 0.40

    WORD START END ASDSCORE
    THE 0.00 0.12 8.2

Any section may be missing. Columns are found by their names.
"""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mome.corpora import Clip

MAX_SECONDS = 16.0  # longer clips of pretrain are cut into pieces
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
    """What a text file says.

    Attributes:
        text: the words, normalised; "" when the file has no text.
        headers: the lines `Name: value`, unchanged.
        words: the words and their times; empty when the file has none.
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
    """Read a text file. Raises ValueError that names the file and the line at fault."""
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
            words += _read_word(path, line, dict(zip(columns, parts, strict=False)))
    return TextFile(normalise(headers.get("Text", "")), headers, words)


def _read_word(path: str | Path, line: str, row: dict[str, str]) -> list[Word]:
    """The word of a line; empty when the line is only a mark."""
    try:
        word, start, end = normalise(row["WORD"]), float(row["START"]), float(row["END"])
    except (KeyError, ValueError):
        raise ValueError(f"{path}: '{line}' does not give a WORD, its START and its END") from None
    return [Word(word, start, end)] if word else []


def pieces(words: list[Word], max_seconds: float) -> list[tuple[float, float | None, str]]:
    """Cut a long clip between words: (start, end, text) of pieces of at most `max_seconds`.

    Times are in seconds. The first piece starts at 0; the last one has the end None and goes on to
    the end of the clip. Pieces are about equally long. Raises ValueError when a word and the
    silence around it are longer than `max_seconds`.
    """
    total = words[-1].end
    # A cut between two words is in the middle of the silence between them.
    gaps = [(a.end + b.start) / 2 for a, b in itertools.pairwise(words)]
    for count in range(math.ceil(total / max_seconds), len(words) + 1):
        cuts = _cuts(gaps, total, count)
        bounds = [0.0, *(gaps[i] for i in cuts), total]
        if all(b - a <= max_seconds for a, b in itertools.pairwise(bounds)):
            firsts = [0, *(i + 1 for i in cuts), len(words)]
            ends: list[float | None] = [*bounds[1:-1], None]
            texts = [" ".join(w.word for w in words[a:b]) for a, b in itertools.pairwise(firsts)]
            return list(zip(bounds, ends, texts, strict=False))
    raise ValueError(f"it cannot be cut into pieces of at most {max_seconds:g} s between words")


def _cuts(gaps: list[float], total: float, count: int) -> list[int]:
    """The gaps nearest to the bounds of `count` equal pieces, as indices into `gaps`."""
    cuts: list[int] = []
    for k in range(1, count):
        later = [i for i in range(len(gaps)) if not cuts or i > cuts[-1]]
        if later:
            cuts.append(min(later, key=lambda i: abs(gaps[i] - k * total / count)))
    return cuts


def clips_of_folder(folder: Path, max_seconds: float | None = None) -> Iterator[Clip]:
    """The clips `<5 digits>.{mp4,txt}` in the folder of a speaker; ids are `<folder>-<clip>`.

    Extensions may be in upper case. A text without its media file is included, so that stage 0
    reports the missing file. With `max_seconds`, longer clips are cut into pieces.
    """
    media: dict[str, Path] = {}
    texts: dict[str, Path] = {}
    for path in folder.iterdir():
        for suffix, found in ((".mp4", media), (".txt", texts)):
            if path.suffix.lower() == suffix and not path.name.startswith("."):
                found[path.stem] = path
    for stem in sorted(media.keys() | texts.keys()):
        media_path = media.get(stem, folder / f"{stem}.mp4")
        yield from read_clip(media_path, texts.get(stem), folder.name, max_seconds)


def read_clip(
    media_path: Path, text_path: Path | None, speaker: str, max_seconds: float | None
) -> Iterator[Clip]:
    """A clip, or its pieces when it is longer than `max_seconds`.

    Nothing is raised for a text file that cannot be read: the clip says so in `fault`.
    """
    name = f"{speaker}-{media_path.stem}"
    if text_path is None:
        yield Clip(name, speaker, media_path, "")
        return
    try:
        content = read_text_file(text_path)
        words = content.words
        if max_seconds is None or not words or words[-1].end <= max_seconds:
            limit = None if words else max_seconds  # a clip without word times cannot be cut
            yield Clip(name, speaker, media_path, content.text, max_seconds=limit)
            return
        for k, (start, end, text) in enumerate(pieces(words, max_seconds)):
            yield Clip(f"{name}-{k:02d}", speaker, media_path, text, times=(start, end))
    except ValueError as error:
        yield Clip(name, speaker, media_path, "", fault=f"{text_path}: {error}")

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
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mome.corpora import Clip, tree

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
    """Read a text file. Raises ValueError that names the file and the line at fault.

    Times of words must be finite and in order.
    """
    headers: dict[str, str] = {}
    words: list[Word] = []
    columns: list[str] = []  # of the section that the line is in
    for line in tree.read_text(Path(path)).splitlines():
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
    for before, word in itertools.pairwise([Word("", 0.0, 0.0), *words]):
        if not before.start <= word.start <= word.end < math.inf:
            raise ValueError(
                f"{path}: the times of '{word.word}', {word.start:g} to {word.end:g} s, are not in"
                " order"
            )
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
    reports the missing file. With `max_seconds`, longer clips are cut into pieces. A folder that
    cannot be read is one clip with a fault.
    """
    try:
        if fault := tree.fault_of_folder(folder):
            raise ValueError(fault)
        media, texts = tree.by_stem(folder, [".mp4"]), tree.by_stem(folder, [".txt"])
    except ValueError as error:
        yield faulty_clip(folder, str(error))
        return
    for stem in sorted(media.keys() | texts.keys(), key=os.fsencode):
        found = media.get(stem, []), texts.get(stem, [])
        yield from read_clip(folder, stem, *found, max_seconds)


def read_clip(
    folder: Path,
    stem: str,
    media_paths: list[Path],
    text_paths: list[Path],
    max_seconds: float | None = None,
) -> Iterator[Clip]:
    """The clip of this name in the folder of a speaker, or its pieces.

    Args:
        media_paths, text_paths: its files; more than one is a fault, as are files that cannot be
            read. Nothing is raised: the clip says so in `fault`.
        max_seconds: a longer clip is cut into pieces.
    """
    media_path, several = tree.only_one(media_paths)
    text_path, more_texts = tree.only_one(text_paths)
    media_path = media_path or folder / f"{stem}.mp4"
    fault = tree.fault_of_name(stem)
    fault = f"{tree.printable(media_path)}: {fault}" if fault else several or more_texts
    if not fault and media_paths:
        fault = tree.fault_of_file(media_path)
    if fault:
        yield faulty_clip(media_path, fault, folder.name)
        return
    name, speaker = f"{folder.name}-{stem}", folder.name
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
        parts = _pieces_of(text_path, words, max_seconds)
    except ValueError as error:
        yield faulty_clip(media_path, str(error), speaker)
        return
    for k, (start, end, text) in enumerate(parts):
        yield Clip(f"{name}-{k:02d}", speaker, media_path, text, times=(start, end))


def faulty_clip(path: Path, fault: str, speaker: str | None = None) -> Clip:
    """A clip that cannot be used, or a whole folder when no speaker is given.

    Its ids are those of the file or folder, with `%20` for a space and so on.
    """
    if speaker is None:
        name = tree.make_id(path.name)
        return Clip(name, name, path, "", fault=fault)
    speaker = tree.make_id(speaker)
    return Clip(f"{speaker}-{tree.make_id(path.stem)}", speaker, path, "", fault=fault)


def _pieces_of(path: Path, words: list[Word], max_seconds: float):
    """`pieces`, with the file in the error."""
    try:
        return pieces(words, max_seconds)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None

"""Texts and tables for scoring: how they are read and by what rules they are compared."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mome.scoring.align import ALIGNMENTS
from mome.scoring.wer import normalised


@dataclass(frozen=True)
class Rules:
    """How references and hypotheses are compared; what is done to a text is done to both.

    Attributes:
        alignment: one of `align.ALIGNMENTS`.
        ignore_case: both become lower case.
        remove: symbols that are taken out wherever they stand, such as `.` or `<unk>`.
    """

    alignment: str = "levenshtein"
    ignore_case: bool = False
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.alignment not in ALIGNMENTS:
            raise ValueError(f"no alignment '{self.alignment}': there are {', '.join(ALIGNMENTS)}")
        wrong = [symbol for symbol in self.remove if symbol.split() != [symbol]]
        if wrong:
            raise ValueError(f"cannot remove {wrong[0]!r}: a symbol has letters or marks, no space")

    def apply(self, text: str) -> str:
        """The text as it is compared."""
        text = normalised(text)
        if self.ignore_case:
            text = text.lower()
        for symbol in self.remove:
            symbol = normalised(symbol)
            text = text.replace(symbol.lower() if self.ignore_case else symbol, "")
        return " ".join(text.split())

    def apply_to(self, texts: dict[str, str]) -> dict[str, str]:
        """Texts by utterance as they are compared."""
        return {utterance: self.apply(text) for utterance, text in texts.items()}

    def __str__(self) -> str:
        parts = [f"alignment: {self.alignment}"]
        parts += ["case ignored"] if self.ignore_case else []
        parts += [f"removed: {' '.join(self.remove)}"] if self.remove else []
        return "; ".join(parts)


def read_table(path: Path, needs_value: bool = False) -> dict[str, str]:
    """A table of Kaldi: an id, and the rest of the line, which may be empty.

    Raises FileNotFoundError, or ValueError that names file and line: for text that is not UTF-8, a
    blank line, an id that comes twice, an empty file and, with `needs_value`, an id alone.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    table: dict[str, str] = {}
    first_line: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        key, *rest = line.split(maxsplit=1)[:2] if line.strip() else [""]
        if not key:
            raise ValueError(f"{path}, line {number}: the line is blank; remove it")
        if key in table:
            raise ValueError(
                f"{path}, line {number}: {key} stands in line {first_line[key]} already"
            )
        if needs_value and not rest:
            raise ValueError(f"{path}, line {number}: nothing follows {key}")
        table[key], first_line[key] = rest[0].strip() if rest else "", number
    if not table:
        raise ValueError(f"{path} is empty")
    return table


def digest(path: Path) -> str:
    """A short text that changes when the content of a file does."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _lines(path: Path) -> Iterable[str]:
    """The lines of a file in UTF-8, with or without a byte order mark."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {number}: the byte {content[error.start]:#x} is not UTF-8; convert the"
            " file, for example: iconv -f latin1 -t utf-8"
        ) from None
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines

"""Texts to score: by what rules they are compared."""

import hashlib
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


def digest(path: Path) -> str:
    """A short text that changes when the content of a file does."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

"""Corpora, one file each: how the corpus lies on disk, and its clips by set.

Every file has the names of `Corpus` below. Commands find a corpus by the name of its file, so a new
corpus is one new file here. Two files are no corpus: `tree.py` looks at folders and files, and
`text_file.py` reads the text files of LRS2, LRS3 and mini, and lists the clips of a folder of them.
"""

import importlib
import os
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

SHARED = {"text_file", "tree"}  # files here that are not a corpus


@dataclass(frozen=True)
class Clip:
    """One clip of a corpus, as the reader of the corpus found it.

    Attributes:
        text: the words, normalised; "" when the clip has no text.
        times: start and end in seconds when the clip is a piece of its file; the end is None for
            the last piece, which goes on to the end of the file.
        max_seconds: a longer clip cannot be used.
        fault: why the clip cannot be used at all; "" when no reason is known.
    """

    utterance: str
    speaker: str
    media_path: Path
    text: str
    phones_path: Path | None = None
    times: tuple[float, float | None] | None = None
    max_seconds: float | None = None
    fault: str = ""


@dataclass(frozen=True)
class Coverage:
    """How complete a split is: its clips that have media and text, and how many it should have.

    `unit` names what is counted when it is not clips.
    """

    split: str
    found: int
    expected: int
    unit: str = "clips"

    @property
    def missing(self) -> int:
        return self.expected - self.found


class Corpus(Protocol):
    """What each file of this folder has.

    HOURS: the choices of hours of training data, the default first; empty when there is no choice.
    SPEAKERS_DISJOINT: whether each speaker must be in one set only.
    """

    HOURS: tuple[int, ...]
    SPEAKERS_DISJOINT: bool

    def list_sets(self, root: str | Path, hours: int | None = None) -> dict[str, list[Clip]]:
        """The clips of each set ("train", "valid", "test"), sorted by utterance.

        Raises FileNotFoundError when the corpus is not at `root`, ValueError for other hours.
        """
        ...

    def coverage(self, root: str | Path, hours: int | None = None) -> list[Coverage]:
        """How complete each split is; empty for a corpus whose numbers of clips are not known."""
        ...


def names() -> list[str]:
    """The names of the corpora, sorted."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} - SHARED)


def load(name: str) -> Corpus:
    """The corpus of this name. Raises ValueError when there is none."""
    if name not in names():
        raise ValueError(f"there is no corpus '{name}'; there are {', '.join(names())}")
    return cast(Corpus, importlib.import_module(f"{__name__}.{name}"))


def choose_hours(corpus: str, hours: int | None, choices: tuple[int, ...]) -> int | None:
    """The hours asked for, or the first choice. Raises ValueError when they are not a choice."""
    if hours is None:
        return choices[0] if choices else None
    if not choices:
        raise ValueError(f"{corpus} has one training set only: it cannot be limited to {hours} h")
    if hours not in choices:
        raise ValueError(f"{corpus} is trained on {' or '.join(map(str, choices))} h, not {hours}")
    return hours


def sort(clips: Iterable[Clip]) -> list[Clip]:
    """Sort by the bytes of the utterance id, as `LC_ALL=C sort` does."""
    return sorted(clips, key=lambda clip: clip.utterance.encode())


def count_clips(split: str, clips: Iterable[Clip], expected: int) -> Coverage:
    """How complete a split with these clips is; a clip that was cut into pieces counts once."""
    found = {clip.media_path for clip in clips if clip.text and os.path.isfile(clip.media_path)}
    return Coverage(split, len(found), expected)

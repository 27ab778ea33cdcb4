"""A request of a visitor of the page, and what is known of it so far."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

NO_NOISE = "none"


@dataclass(frozen=True)
class Limits:
    """The largest clip that is read."""

    seconds: float = 60.0
    megabytes: float = 100.0


@dataclass(frozen=True)
class Request:
    """A clip, the scales to recognise it at, and the noise to add to its sound."""

    path: Path
    scales: Sequence[str]
    noise: str = NO_NOISE
    snr: float = 0.0  # dB


@dataclass(frozen=True)
class Reading:
    """A clip at one scale.

    Attributes:
        text: what is decoded so far.
        seconds: that it took, when it is done; without reading the file.
        transcript: a mome.transcription.transcript.Transcript when it is done.
    """

    scale: str
    text: str = ""
    seconds: float = 0.0
    transcript: Any = None


@dataclass(frozen=True)
class State:
    """What is known of a clip so far.

    Attributes:
        clip_s: its length, 0 before the file is read.
        read_s: time to decode the file and find the face.
        mouths: a time in seconds and the crop (96, 96) there, evenly spaced.
        warnings: what the clip lacks, in words.
        readings: one for each scale that was begun.
        is_done: whether nothing follows.
    """

    clip_s: float = 0.0
    read_s: float = 0.0
    mouths: list[tuple[float, np.ndarray]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    readings: tuple[Reading, ...] = ()
    is_done: bool = False


class Host(Protocol):
    """What the page needs of `mome.demo.visit.ModelHost`."""

    model: Any
    limits: Limits

    @property
    def noises(self) -> list[str]:
        """The kinds of noise that can be added."""

    def serve(self, request: Request) -> Iterator[State]:
        """The states of a request; ValueError or OSError for a clip that cannot be read."""

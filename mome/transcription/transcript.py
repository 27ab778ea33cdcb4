"""The text of a recording with its times, and its files: txt, json, srt, vtt."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Word:
    """A word and when it is said, in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Segment:
    """A piece of a recording with its text.

    Attributes:
        start, end: seconds.
        text: lower case, without punctuation.
        score: mean log-probability of its tokens in nats; 0 is certain.
        scale: frames per token, such as a16_v5.
        task: the streams that were read: asr, vsr or avsr.
        num_tokens, num_prompt_tokens: of the text, and of audio, video and instruction before it.
        words: with their times, if that was asked for and the piece has room for so many.
    """

    start: float
    end: float
    text: str
    score: float
    scale: str
    task: str
    num_tokens: int
    num_prompt_tokens: int
    words: list[Word] | None = None


@dataclass(frozen=True)
class Transcript:
    """The text of a recording.

    Attributes:
        file: the recording.
        scale: that was asked for; of a cascade, all of them: a16_v5,a4_v2.
        task: the streams that were read: asr, vsr or avsr.
        segments: in order.
        warnings: what the recording lacks, in words.
        seconds: length of the recording.
    """

    file: str
    scale: str
    task: str
    segments: list[Segment]
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """All segments, with spaces between them."""
        return " ".join(segment.text for segment in self.segments if segment.text)

    def as_dict(self) -> dict:
        """What `--format json` writes; a segment that was read at another scale says so."""
        file = self.file.encode("utf-8", "replace").decode()  # a name may have any bytes
        names = ("scale", "task", "text")
        segments = [self._segment(segment) for segment in self.segments]
        return {"file": file, **{n: getattr(self, n) for n in names}, "segments": segments}

    def _segment(self, segment: Segment) -> dict:
        found: dict[str, Any] = {
            "start": round(segment.start, 2),
            "end": round(segment.end, 2),
            "text": segment.text,
            "score": round(segment.score, 4),
        }
        if segment.scale != self.scale:
            found["scale"] = segment.scale
        if segment.words is not None:
            found["words"] = [
                {"word": w.word, "start": round(w.start, 2), "end": round(w.end, 2)}
                for w in segment.words
            ]
        return found


# ---- formats ------------------------------------------------------------------------------------


def as_txt(transcript: Transcript) -> str:
    return transcript.text + "\n"


def as_json(transcript: Transcript) -> str:
    return json.dumps(transcript.as_dict(), ensure_ascii=False, indent=1) + "\n"


def as_srt(transcript: Transcript) -> str:
    cues = [
        f"{number}\n{clock(s.start, ',')} --> {clock(s.end, ',')}\n{s.text}\n"
        for number, s in enumerate(spoken(transcript), start=1)
    ]
    return "\n".join(cues)


def as_vtt(transcript: Transcript) -> str:
    cues = [f"{clock(s.start)} --> {clock(s.end)}\n{s.text}\n" for s in spoken(transcript)]
    return "\n".join(["WEBVTT\n", *cues])


def spoken(transcript: Transcript) -> Iterator[Segment]:
    """The segments that have a text."""
    return (segment for segment in transcript.segments if segment.text)


def clock(seconds: float, point: str = ".") -> str:
    """1.5 -> 00:00:01.500"""
    milliseconds = round(1000 * seconds)
    minutes, hours = milliseconds // 60_000 % 60, milliseconds // 3_600_000
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000 % 60:02}{point}{milliseconds % 1000:03}"


FORMATS: dict[str, Callable[[Transcript], str]] = {
    "txt": as_txt,
    "json": as_json,
    "srt": as_srt,
    "vtt": as_vtt,
}

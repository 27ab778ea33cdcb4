"""Recordings to text: `transcribe` for one, `transcribe_all` for many.

A recording is read once, cut at pauses into pieces as long as the model was trained for
(mome/data/recording.py), and the pieces are decoded in batches, across files. A stream that a
recording lacks is left out if the model was trained for that (task `all`); else it is zeros.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mome import decoding
from mome.checkpoint import choose_scales
from mome.compression import Scale
from mome.data import faces, recording
from mome.data.dataset import to_device
from mome.data.features import padded
from mome.data.recording import Piece, Recording
from mome.decoding import Hypothesis
from mome.model import STREAMS
from mome.transcription.cascade import Cascade, coarsest
from mome.transcription.recogniser import Recogniser, encode
from mome.transcription.transcript import Segment, Transcript
from mome.transcription.words import Aligner


def open_recording(
    model: Recogniser,
    path: str | Path,
    scale: str | Cascade | None = None,
    *,
    task: str | None = None,
    face: str = "largest",
    landmarks_every: int = 1,
) -> Recording:
    """Read a recording once, to transcribe it at several scales. Arguments as for `transcribe`."""
    streams = streams_of(as_cascade(model, scale), task)
    return recording.read(path, streams, partial(faces.read, which=face, every=landmarks_every))


def transcribe(
    model: Recogniser,
    path: str | Path | Recording,
    scale: str | Cascade | None = None,
    *,
    task: str | None = None,
    face: str = "largest",
    landmarks_every: int = 1,
    most_s: float | None = None,
    words: bool = False,
    on_text: Callable[[str], None] | None = None,
) -> Transcript:
    """The text of a recording.

    Args:
        path: a file, or what `open_recording` has read.
        scale: such as "a16_v5"; by default the finest one of the model. One that was not trained
            is possible, too. A `Cascade` of mome/transcription/cascade.py decodes again where the
            model is unsure.
        task: asr (read the sound alone), vsr (the face alone) or avsr; by default all that the
            scale reads.
        face: "largest", "left", "right" or a number, counted from 1 on the left.
        landmarks_every: find the face in each n-th image alone, which is faster.
        most_s: the longest piece in seconds; by default the longest clip of the training.
        words: find the times of words, too; not all models can (mome/transcription/words.py).
        on_text: called with the text so far whenever there is more of it.

    Raises FileNotFoundError or ValueError, in one line, when the file cannot be read or the model
    has no such scale or task or cannot tell when words are said.
    """
    ((_, found),) = transcribe_all(
        model, [path], scale, task=task, face=face, landmarks_every=landmarks_every,
        most_s=most_s, words=words, on_text=on_text,
    )  # fmt: skip
    if isinstance(found, Exception):
        raise found
    return found


def transcribe_all(
    model: Recogniser,
    paths: Iterable[str | Path | Recording],
    scale: str | Cascade | None = None,
    *,
    task: str | None = None,
    face: str = "largest",
    landmarks_every: int = 1,
    most_s: float | None = None,
    words: bool = False,
    on_text: Callable[[str], None] | None = None,
) -> Iterator[tuple[str, Transcript | ValueError | OSError]]:
    """The text of each recording, in order, or the error that says why there is none.

    Arguments as for `transcribe`. Pieces of several recordings are decoded together.
    """
    chosen = as_cascade(model, scale)
    streams = streams_of(chosen, task)
    size = 1 if on_text else model.config.decode.batch_size
    aligner = Aligner(model.model, model.tokenizer, model.dir) if words else None
    queue = _Queue(model, chosen, size, aligner, on_text)
    read_face = partial(faces.read, which=face, every=landmarks_every)
    for path in paths:
        if isinstance(path, Recording):
            opened, name = partial(only_streams, path, streams), path.path
        else:
            opened, name = partial(recording.read, path, streams, read_face), Path(path)
        queue.read(str(name), opened, most_s or model.most_s)
        yield from queue.finished()
    queue.flush()
    yield from queue.finished()


def streams_of(cascade: Cascade, task: str | None) -> list[str]:
    """What is read of a recording. Raises ValueError when its scales do not read all of it."""
    own = cascade.scales[0].task
    streams = STREAMS[task or own]
    if not set(streams) <= set(STREAMS[own]):
        raise ValueError(f"task {task} needs a scale that reads {' and '.join(streams)}: {cascade}")
    return streams


def only_streams(opened: Recording, streams: list[str]) -> Recording:
    """A recording without the streams that are not asked for."""
    sound = opened.sound if "audio" in streams else None
    face = opened.face if "video" in streams else None
    return replace(opened, sound=sound, face=face)


def as_cascade(model: Recogniser, scale: str | Cascade | None) -> Cascade:
    """One scale by its name, by default the finest, or several; a warning for one not trained."""
    names = scale.scales if isinstance(scale, Cascade) else [scale or model.scales[0]]
    scales = choose_scales(model.config, list(map(str, names)))
    if scales[0].task not in {trained.task for trained in model.scales}:
        raise ValueError(
            f"scale {scales[0]} is of task {scales[0].task}, but {model.dir} was trained for"
            f" {model.config.model.task}: give one like {', '.join(map(str, model.scales))}"
        )
    return scale if isinstance(scale, Cascade) else Cascade(tuple(scales))


@dataclass
class _Job:
    """A recording whose pieces are being decoded; `is_read` when all of them are known."""

    file: str
    recording: Recording | None = None
    error: ValueError | OSError | None = None
    segments: list[Segment | None] = field(default_factory=list)
    is_read: bool = False

    @property
    def is_finished(self) -> bool:
        return self.is_read and (self.error is not None or None not in self.segments)


@dataclass(frozen=True)
class _Waiting:
    """A piece, and where its text goes: to a segment of a job."""

    job: _Job
    index: int
    piece: Piece


class _Queue:
    """Pieces that wait for a batch, and the recordings that they are from."""

    def __init__(
        self,
        model: Recogniser,
        cascade: Cascade,
        size: int,
        aligner: Aligner | None,
        on_text: Callable[[str], None] | None,
    ):
        self.model, self.cascade, self.size = model, cascade, size
        self.aligner, self.on_text = aligner, on_text
        self.jobs: list[_Job] = []
        self.waiting: list[_Waiting] = []

    def read(self, file: str, opened: Callable[[], Recording], most_s: float) -> None:
        """Add all pieces of a recording; what goes wrong is kept with it."""
        job = _Job(file)
        self.jobs.append(job)
        try:
            job.recording = opened()
            for piece in job.recording.pieces(most_s):
                job.segments.append(None)
                self.waiting.append(_Waiting(job, len(job.segments) - 1, piece))
                if len(self.waiting) >= self.size:
                    self.flush()
        except (ValueError, OSError) as error:
            job.error = error
            self.waiting = [waiting for waiting in self.waiting if waiting.job is not job]
        job.is_read = True

    def flush(self) -> None:
        """Decode the pieces that wait, those that are read at one scale together."""
        groups: dict[Scale, list[_Waiting]] = {}
        for waiting in self.waiting:
            scale = self._scale_of(waiting.piece, self.cascade.scales[0])
            groups.setdefault(scale, []).append(waiting)
        self.waiting = []
        for scale in sorted(groups, key=str):
            self._decode(groups[scale])

    def _decode(self, group: list[_Waiting]) -> None:
        """Decode all pieces at the first scale, and at the next ones those below the threshold."""
        scales = [self._scale_of(group[0].piece, scale) for scale in self.cascade.scales]
        frames = encode(self.model, [waiting.piece for waiting in group], coarsest(scales))
        report = self.on_text and self._report(group[0].job)
        chosen, segments = list(range(len(group))), dict[int, Segment]()
        for scale in scales:
            own = {stream: [rows[k] for k in chosen] for stream, rows in frames.items()}
            found = dict(zip(chosen, recognise(self.model, own, scale, report), strict=True))
            segments |= {k: segment_of(group[k].piece, scale, hyp) for k, hyp in found.items()}
            chosen = [k for k, hyp in found.items() if hyp.score < self.cascade.threshold]
            if not chosen:
                break
        for k, waiting in enumerate(group):
            of_piece = {stream: rows[k] for stream, rows in frames.items()}
            segment = self._with_words(waiting.piece, segments[k], of_piece)
            waiting.job.segments[waiting.index] = segment

    def _with_words(self, piece: Piece, segment: Segment, frames: dict[str, Tensor]) -> Segment:
        """The segment of a piece, with the times of its words if they are asked for."""
        if not self.aligner:
            return segment
        media = {"audio": piece.sound, "video": piece.mouth}
        heard = [stream for stream in frames if media[stream] is not None]
        words = self.aligner.words(segment.text, frames, heard, piece.start, piece.end)
        return replace(segment, words=words)

    def _scale_of(self, piece: Piece, scale: Scale) -> Scale:
        """The scale of the streams that a piece has, if it was trained; else the whole one."""
        own = Scale(
            scale.audio if piece.sound is not None else None,
            scale.video if piece.mouth is not None else None,
        )
        return own if own in self.model.scales else scale

    def _report(self, job: _Job) -> Callable[[list[str]], None]:
        """Report the text of a recording so far, of which one piece is being decoded."""
        before = [segment.text for segment in job.segments if segment]
        on_text = self.on_text
        assert on_text is not None
        return lambda texts: on_text(" ".join(filter(None, [*before, texts[0]])))

    def finished(self) -> Iterator[tuple[str, Transcript | ValueError | OSError]]:
        """The recordings at the head of the queue that are done."""
        while self.jobs and self.jobs[0].is_finished:
            job = self.jobs.pop(0)
            yield job.file, job.error or self._transcript(job)

    def _transcript(self, job: _Job) -> Transcript:
        assert job.recording is not None
        segments = [segment for segment in job.segments if segment]
        has_sound = job.recording.sound is not None
        scale = self.cascade.scales[0]
        has_face = job.recording.face is not None and scale.video is not None
        task = scale.task  # of silence, too
        if has_sound != has_face:
            task = "asr" if has_sound else "vsr"
        opened = job.recording
        return Transcript(
            job.file, str(self.cascade), task, segments, opened.warnings, opened.seconds
        )


def segment_of(piece: Piece, scale: Scale, found: Hypothesis) -> Segment:
    """The text of a piece with its times."""
    both = piece.sound is not None and piece.mouth is not None
    task = "avsr" if both else "vsr" if piece.sound is None else "asr"
    counts = found.num_tokens, found.num_prompt_tokens
    return Segment(piece.start, piece.end, found.text, found.score, str(scale), task, *counts)


@torch.inference_mode()
def recognise(
    model: Recogniser,
    frames: dict[str, list[Tensor]],
    scale: Scale,
    on_text: Callable[[list[str]], None] | None = None,
) -> list[Hypothesis]:
    """The text of each piece at a scale; `frames` as `encode` gives them.

    `on_text` gets the texts so far.
    """
    batch: dict[str, Tensor] = {}
    for stream in STREAMS[scale.task]:
        batch |= padded(stream, frames[stream])
    search = model.config.decode
    return decoding.decode_scored(
        model.model, model.tokenizer, to_device(batch, model.device), scale, search, on_text
    )

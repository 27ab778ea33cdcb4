"""One's own recordings to text: load a trained model, give it files (`mome transcribe`).

    model = load_model("exp/train_mome_layer")          # an experiment, a model folder, a hub id
    result = transcribe(model, "clip.mp4", scale="a16_v5")
    result.text, result.segments[0].start, result.segments[0].score

A recording is read once, cut at pauses into pieces as long as the model was trained for
(mome/data/recording.py), and the pieces are decoded in batches, across files. A stream that a
recording lacks is left out if the model was trained for that (task `all`); else it is zeros.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mome import checkpoint, config, decoding
from mome.compression import Scale
from mome.config import Config
from mome.data import AUDIO_FPS, SAMPLE_RATE, VIDEO_FPS, crops, faces, recording
from mome.data.dataset import to_device
from mome.data.features import load_encoders, padded
from mome.data.recording import Piece, Recording
from mome.data.transcript import Segment, Transcript
from mome.decoding import Hypothesis
from mome.model import STREAMS, MoMEModel

HUB_FILES = ["*.safetensors", "*.json", "*.yaml", "*.md", "*.txt", "*.model"]  # no pickle
USUAL_S = 16.0  # longest piece for a model that does not say how long its clips were


@dataclass
class Recogniser:
    """A trained model with its encoders, ready for recordings.

    Attributes:
        dir: the model's folder.
        config: the settings of its training.
        model, tokenizer: as `mome.decoding` takes them.
        encoders: by stream.
        most_s: the longest piece of a recording in seconds: the longest clip of the training.
    """

    dir: Path
    config: Config
    model: MoMEModel
    tokenizer: Any
    encoders: dict[str, Any]
    most_s: float

    @property
    def scales(self) -> list[Scale]:
        """The scales that were trained, the finest first."""
        return self.model.scales

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


# ---- load ---------------------------------------------------------------------------------------


def load_model(
    name_or_path: str | Path,
    device: str | torch.device | None = None,
    base_dirs: Iterable[str | Path] = (),
    model: str = "best",
    overrides: Iterable[str] = (),
) -> Recogniser:
    """A trained model, from an experiment (exp/<tag>), a model folder or a hub id.

    Args:
        device: "cpu", "cuda", ...; by default a GPU when there is one.
        base_dirs: more folders in which LLM and encoders are looked for.
        model: of an experiment: best, average or checkpoints/step_<n>.
        overrides: changes to the settings, such as "decode.num_beams=15".

    Raises FileNotFoundError or ValueError when a part is missing, damaged or another one than in
    training.
    """
    model_dir = find_folder(name_or_path, model)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    cfg = config.load(model_dir / "config.yaml", list(overrides))
    cfg = checkpoint.resolve(cfg, model_dir, list(base_dirs))
    built, tokenizer, base = decoding.load_model(model_dir, cfg, device, list(base_dirs))
    encoders = dict(zip(["video"], built.video_encoder, strict=False))  # none if it was frozen
    missing = [stream for stream in built.streams if stream not in encoders]
    encoders |= load_encoders(missing, cfg.encoders, device)
    check_encoders(model_dir, encoders, base)
    longest_s = base.get("longest_s") or min(USUAL_S, cfg.train.max_frames / VIDEO_FPS)
    return Recogniser(model_dir, cfg, built, tokenizer, encoders, longest_s)


def find_folder(name_or_path: str | Path, model: str = "best") -> Path:
    """The model folder of an experiment, the folder itself, or that of a hub id, downloaded.

    Raises FileNotFoundError when it is neither.
    """
    path = Path(name_or_path)
    if (path / checkpoint.FILE).exists():
        return path
    if (path / "config.yaml").exists():
        return decoding.find_model(path, model)
    if path.exists():
        raise FileNotFoundError(
            f"{path} is no trained model: give exp/<tag>, trained by stage 3, or a folder made by"
            " mome pack"
        )
    parts = str(name_or_path).split("/")
    if len(parts) != 2 or not all(parts) or parts[0] in (".", "..", "~", "exp"):
        raise FileNotFoundError(f"{path} does not exist: give the folder of a model or its hub id")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = huggingface_hub.snapshot_download(str(name_or_path), allow_patterns=HUB_FILES)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"{name_or_path} is no folder here, and the hub does not give it ({reason}): give the"
            " folder of a model or its hub id"
        ) from None
    return Path(found)


def check_encoders(model_dir: Path, encoders: dict[str, Any], base: dict) -> None:
    """ValueError when an encoder has other weights than the one of the training run."""
    for stream, encoder in encoders.items():
        expected = base.get("features", {}).get(f"{stream}_sha256")
        if expected and expected != encoder.sha256:
            raise ValueError(
                f"{model_dir} was trained with another {stream} encoder: sha256"
                f" {expected[:12]}..., but {encoder.name} has {encoder.sha256[:12]}...: set"
                f" encoders.{stream} to that of the training run"
            )


# ---- transcribe ---------------------------------------------------------------------------------


def open_recording(
    model: Recogniser,
    path: str | Path,
    scale: str | None = None,
    *,
    task: str | None = None,
    face: str = "largest",
    landmarks_every: int = 1,
) -> Recording:
    """Read a recording once, to transcribe it at several scales. Arguments as for `transcribe`."""
    streams = streams_of(choose_scale(model, scale), task)
    return recording.read(path, streams, partial(faces.read, which=face, every=landmarks_every))


def transcribe(
    model: Recogniser,
    path: str | Path | Recording,
    scale: str | None = None,
    *,
    task: str | None = None,
    face: str = "largest",
    landmarks_every: int = 1,
    most_s: float | None = None,
    on_text: Callable[[str], None] | None = None,
) -> Transcript:
    """The text of a recording.

    Args:
        path: a file, or what `open_recording` has read.
        scale: such as "a16_v5"; by default the finest one of the model. One that was not trained
            is possible, too.
        task: asr (read the sound alone), vsr (the face alone) or avsr; by default all that the
            scale reads.
        face: "largest", "left", "right" or a number, counted from 1 on the left.
        landmarks_every: find the face in each n-th image alone, which is faster.
        most_s: the longest piece in seconds; by default the longest clip of the training.
        on_text: called with the text so far whenever there is more of it.

    Raises FileNotFoundError or ValueError, in one line, when the file cannot be read or the model
    has no such scale or task.
    """
    ((_, found),) = transcribe_all(
        model, [path], scale, task=task, face=face, landmarks_every=landmarks_every,
        most_s=most_s, on_text=on_text,
    )  # fmt: skip
    if isinstance(found, Exception):
        raise found
    return found


def transcribe_all(
    model: Recogniser,
    paths: Iterable[str | Path | Recording],
    scale: str | None = None,
    *,
    task: str | None = None,
    face: str = "largest",
    landmarks_every: int = 1,
    most_s: float | None = None,
    on_text: Callable[[str], None] | None = None,
) -> Iterator[tuple[str, Transcript | ValueError | OSError]]:
    """The text of each recording, in order, or the error that says why there is none.

    Arguments as for `transcribe`. Pieces of several recordings are decoded together.
    """
    chosen = choose_scale(model, scale)
    streams = streams_of(chosen, task)
    size = 1 if on_text else model.config.decode.batch_size
    queue = _Queue(model, chosen, size, on_text)
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


def streams_of(scale: Scale, task: str | None) -> list[str]:
    """What is read of a recording. Raises ValueError when the scale does not read all of it."""
    streams = STREAMS[task or scale.task]
    if not set(streams) <= set(STREAMS[scale.task]):
        raise ValueError(f"task {task} needs a scale that reads {' and '.join(streams)}: {scale}")
    return streams


def only_streams(opened: Recording, streams: list[str]) -> Recording:
    """A recording without the streams that are not asked for."""
    sound = opened.sound if "audio" in streams else None
    face = opened.face if "video" in streams else None
    return replace(opened, sound=sound, face=face)


def choose_scale(model: Recogniser, name: str | None) -> Scale:
    """The scale of this name, with a warning when it was not trained; by default the finest."""
    (scale,) = decoding.choose_scales(model.config, [name or str(model.scales[0])])
    if scale.task not in {trained.task for trained in model.scales}:
        raise ValueError(
            f"scale {scale} is of task {scale.task}, but {model.dir} was trained for"
            f" {model.config.model.task}: give one like {', '.join(map(str, model.scales))}"
        )
    return scale


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


class _Queue:
    """Pieces that wait for a batch, and the recordings that they are from."""

    def __init__(
        self, model: Recogniser, scale: Scale, size: int, on_text: Callable[[str], None] | None
    ):
        self.model, self.scale, self.size, self.on_text = model, scale, size, on_text
        self.jobs: list[_Job] = []
        self.waiting: list[tuple[_Job, int, Piece]] = []

    def read(self, file: str, opened: Callable[[], Recording], most_s: float) -> None:
        """Add all pieces of a recording; what goes wrong is kept with it."""
        job = _Job(file)
        self.jobs.append(job)
        try:
            job.recording = opened()
            for piece in job.recording.pieces(most_s):
                job.segments.append(None)
                self.waiting.append((job, len(job.segments) - 1, piece))
                if len(self.waiting) >= self.size:
                    self.flush()
        except (ValueError, OSError) as error:
            job.error = error
            self.waiting = [waiting for waiting in self.waiting if waiting[0] is not job]
        job.is_read = True

    def flush(self) -> None:
        """Decode the pieces that wait, those that are read at one scale together."""
        scales = [self._scale_of(piece) for _, _, piece in self.waiting]
        waiting, self.waiting = self.waiting, []
        for scale in sorted(set(scales), key=str):
            group = [w for w, own in zip(waiting, scales, strict=True) if own == scale]
            found = recognise(
                self.model, [p for _, _, p in group], scale, self.on_text and self._report(group)
            )
            for (job, index, piece), hypothesis in zip(group, found, strict=True):
                job.segments[index] = segment_of(piece, hypothesis)

    def _scale_of(self, piece: Piece) -> Scale:
        """The scale of the streams that a piece has, if it was trained; else the whole one."""
        own = Scale(
            self.scale.audio if piece.sound is not None else None,
            self.scale.video if piece.mouth is not None else None,
        )
        return own if own in self.model.scales else self.scale

    def _report(self, group: list[tuple[_Job, int, Piece]]) -> Callable[[list[str]], None]:
        """Report the text of the first recording of a batch so far."""
        job, _, _ = group[0]
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
        has_face = job.recording.face is not None and self.scale.video is not None
        task = self.scale.task  # of silence, too
        if has_sound != has_face:
            task = "asr" if has_sound else "vsr"
        return Transcript(
            job.file, str(self.scale), task, segments, job.recording.warnings, job.recording.seconds
        )


def segment_of(piece: Piece, found: Hypothesis) -> Segment:
    """The text of a piece with its times."""
    both = piece.sound is not None and piece.mouth is not None
    task = "avsr" if both else "vsr" if piece.sound is None else "asr"
    counts = found.num_tokens, found.num_prompt_tokens
    return Segment(piece.start, piece.end, found.text, found.score, task, *counts)


@torch.inference_mode()
def recognise(
    model: Recogniser,
    pieces: list[Piece],
    scale: Scale,
    on_text: Callable[[list[str]], None] | None = None,
) -> list[Hypothesis]:
    """The text of each piece at a scale; a stream that a piece lacks is frames of zeros.

    `on_text` gets the texts so far.
    """
    batch: dict[str, Any] = {}
    if scale.audio:
        least = scale.audio * (SAMPLE_RATE // AUDIO_FPS)
        sounds = [None if p.sound is None else at_least(p.sound, least) for p in pieces]
        batch |= padded("audio", frames_of(model, "audio", sounds, pieces))
    if scale.video:
        stored = (p.mouth if p.mouth is None else crops.as_stored(p.mouth) for p in pieces)
        mouths = [None if m is None else at_least(m, scale.video) for m in stored]
        batch |= padded("video", frames_of(model, "video", mouths, pieces))
    search = model.config.decode
    return decoding.decode_scored(
        model.model, model.tokenizer, to_device(batch, model.device), scale, search, on_text
    )


def at_least(media: np.ndarray, length: int) -> np.ndarray:
    """Media that are too short for a token are made longer: with silence, or the last image."""
    missing = max(0, length - len(media))
    if media.ndim == 1:
        return np.pad(media, (0, missing))
    return np.pad(media, ((0, missing), (0, 0), (0, 0)), mode="edge")


def frames_of(
    model: Recogniser, stream: str, media: list[np.ndarray | None], pieces: list[Piece]
) -> list[Tensor]:
    """The frames of each piece; zeros, as many as it lasts, where it has no such stream."""
    encoder = model.encoders[stream]
    fps = AUDIO_FPS if stream == "audio" else VIDEO_FPS
    there = [m for m in media if m is not None]
    found = iter(encoder(there) if there else [])
    least = max((s.audio if stream == "audio" else s.video) or 1 for s in model.scales)
    return [
        torch.zeros(max(least, round((piece.end - piece.start) * fps)), encoder.dim).to(
            model.device
        )
        if m is None
        else next(found).to(model.device)
        for m, piece in zip(media, pieces, strict=True)
    ]

"""Stage 0: from a corpus to the data directories of its sets, with the audio as 16 kHz wav."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mome import corpora, files
from mome.corpora import Clip, Coverage
from mome.data import (
    SAMPLE_RATE,
    VIDEO_FPS,
    audio,
    clip_jobs,
    datadir,
    frame_range,
    validation,
    video,
)
from mome.data.set_name import SetName

MAX_APART = 2  # video frames by which the lengths of audio and video may differ
VERSION = 3  # of the audio: raise it when the same media would give another wav
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How data directories are written.

    Attributes:
        audio_dir: the audio of a set is written to `audio_dir/<set>/`.
        media_paths: paths in the tables are "relative" to the working folder, or "absolute".
        num_jobs: processes.
        max_skipped, max_skipped_test: see `validation.check_skipped`.
        start: called once in each process other than this one.
    """

    audio_dir: Path
    media_paths: str = "relative"
    num_jobs: int = 1
    max_skipped: float = validation.MAX_SKIPPED
    max_skipped_test: float = 0.0
    start: Callable[[], None] | None = None


def prepare_corpus(
    name: str,
    root: Path,
    data_dir: Path,
    options: Options,
    hours: int | None = None,
    allow_missing: bool = False,
) -> None:
    """Write `data_dir/<set>/` for each set of a corpus.

    Args:
        name: of the corpus, one of `corpora.names()`.
        root: the folder of the corpus.
        hours: of training data, one of the corpus's HOURS; None for the default.
        allow_missing: accept splits that have fewer clips than the corpus should have.

    Raises FileNotFoundError when the corpus is not at `root`, ValueError when it is incomplete, its
    sets overlap or too many of its clips cannot be used.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: give the folder of the {name} corpus")
    corpus = corpora.load(name)
    check_coverage(corpus.coverage(root, hours), allow_missing)
    sets = corpus.list_sets(root, hours)
    check_disjoint(sets, corpus.SPEAKERS_DISJOINT)
    for set_name, clips in sets.items():
        prepare_set(clips, data_dir / set_name, options)


def check_coverage(rows: list[Coverage], allow_missing: bool) -> None:
    """Log how complete each split is. Raises ValueError when clips are missing and may not be."""
    for row in rows:
        log.info(f"{row.split}: {row.found} clips found, {row.expected} expected")
    short = [row for row in rows if row.missing]
    if short and not allow_missing:
        text = "; ".join(f"{r.split} has {r.found} clips of {r.expected}" for r in short)
        raise ValueError(
            f"the corpus is not whole: {text}. Only clips with media and text count; add what is"
            " missing, or give --allow_missing to use what there is"
        )


def check_disjoint(sets: dict[str, list[Clip]], speakers: bool = True) -> None:
    """Raise ValueError when two clips have the same id or, with `speakers`, two sets a speaker."""
    set_of: dict[str, str] = {}
    path_of: dict[str, Path] = {}
    for name, clips in sets.items():
        for clip in clips:
            if clip.utterance in path_of:
                raise ValueError(
                    f"{path_of[clip.utterance]} and {clip.media_path} have the same utterance id,"
                    f" {clip.utterance}"
                )
            path_of[clip.utterance] = clip.media_path
            if speakers and set_of.setdefault(clip.speaker, name) != name:
                raise ValueError(
                    f"speaker {clip.speaker} is in {set_of[clip.speaker]} and in {name}: sets must"
                    " not share speakers"
                )


def prepare_set(clips: list[Clip], data_dir: Path, options: Options) -> None:
    """Extract the audio of a set and write its data directory."""
    audio_dir = options.audio_dir / data_dir.name
    wavs = {c.utterance: audio_dir / f"{c.utterance}.wav" for c in clips}
    marks = {c.utterance: mark_of(c) for c in clips}
    inputs = stamp_inputs(clips, marks, audio_dir, options.media_paths)
    skipped = datadir.read_skipped(data_dir)
    complete = all(path.exists() for u, path in wavs.items() if u not in skipped)
    if files.up_to_date(data_dir, inputs) and complete:
        log.info("%s is up to date", data_dir)
        return

    files.clear_stamp(data_dir)
    results, num_new = clip_jobs.run(
        extract_audio,
        {c.utterance: (c, wavs[c.utterance]) for c in clips},
        marks,
        wavs,
        audio_dir / "done.jsonl",
        options.num_jobs,
        f"audio {data_dir.name}",
        options.start,
    )
    skipped = clip_jobs.skipped(results)
    skipped_path = datadir.write_skipped(data_dir, skipped)
    is_test = SetName.parse(data_dir).is_test
    limits = options.max_skipped, options.max_skipped_test
    validation.check_skipped(skipped, len(clips), is_test, skipped_path, *limits)
    kept = [c for c in clips if c.utterance not in skipped]
    datadir.write(data_dir, tables_of(kept, wavs, results, options.media_paths))
    validation.validate(data_dir)
    files.write_stamp(data_dir, inputs)
    hours = sum(results[c.utterance]["seconds"] for c in kept) / 3600
    log.info(
        f"{data_dir}: {len(kept)} utterances, {hours:.2f} h, {len(skipped)} left out;"
        f" the audio of {len(clips) - num_new} was there"
    )


def mark_of(clip: Clip) -> str:
    """A text that changes when the audio of the clip must be extracted again."""
    limit = (clip.max_seconds,) if clip.max_seconds else ()
    return clip_jobs.mark(clip.media_path, bool(clip.text), VERSION, *(clip.times or ()), *limit)


def stamp_inputs(
    clips: list[Clip], marks: dict[str, str], audio_dir: Path, media_paths: str
) -> dict:
    """What a data directory depends on."""
    return {
        "version": VERSION,
        "audio_dir": str(audio_dir),
        "media_paths": media_paths,
        "clips": [[*map(str, vars(c).values()), marks[c.utterance]] for c in clips],
    }


def tables_of(
    clips: list[Clip], wavs: dict[str, Path], results: dict[str, dict], media_paths: str
) -> datadir.DataDir:
    """The tables of clips whose audio has been extracted with these results."""
    as_given = os.path.abspath if media_paths == "absolute" else os.path.relpath
    phones = {c.utterance: as_given(c.phones_path) for c in clips if c.phones_path}
    frames = {c.utterance: results[c.utterance].get("frames") for c in clips}
    return datadir.DataDir(
        wav={c.utterance: as_given(wavs[c.utterance]) for c in clips},
        video={
            c.utterance: frame_range.join(as_given(c.media_path), frames[c.utterance])
            for c in clips
        },
        text={c.utterance: c.text for c in clips},
        utt2spk={c.utterance: c.speaker for c in clips},
        utt2dur={c.utterance: results[c.utterance]["seconds"] for c in clips},
        phones=phones if len(phones) == len(clips) else None,
    )


def extract_audio(clip: Clip, wav_path: Path) -> dict:
    """Write the audio of a clip or piece; returns its seconds and, of a piece, its video frames.

    Raises ValueError or FileNotFoundError when the clip cannot be used: it has no text, no audio or
    no video, they differ in length, or it is too long.
    """
    check_usable(clip)
    samples = audio.read(clip.media_path)
    num_frames = video.count_images(clip.media_path)
    check_lengths(clip, len(samples) / SAMPLE_RATE, num_frames)
    result: dict = {}
    if clip.times:
        first, last = frames_of(clip.media_path, clip.times, num_frames)
        samples_per_frame = SAMPLE_RATE // VIDEO_FPS
        samples = samples[first * samples_per_frame : (last + 1) * samples_per_frame]
        result["frames"] = [first, last]
    if audio.is_silent(samples):
        raise ValueError(f"{clip.media_path}: its audio is silent")
    peak = abs(samples).max()
    audio.write(wav_path, samples / peak if peak > 1 else samples)
    return {"seconds": len(samples) / SAMPLE_RATE, **result}


def check_usable(clip: Clip) -> None:
    """Raise an error for a clip that need not be read to see that it cannot be used."""
    if clip.fault:
        raise ValueError(clip.fault)
    if not clip.media_path.exists():
        raise FileNotFoundError(f"{clip.media_path} does not exist, but a text or a list names it")
    if not clip.text:
        raise ValueError(f"{clip.media_path} has no text")


def check_lengths(clip: Clip, seconds: float, num_frames: int) -> None:
    """Raise ValueError when audio and video differ in length or the clip is too long."""
    if abs(seconds * VIDEO_FPS - num_frames) > MAX_APART:
        raise ValueError(
            f"{clip.media_path}: its audio lasts {seconds:.2f} s, but its video {num_frames}"
            f" frames, {num_frames / VIDEO_FPS:.2f} s"
        )
    if clip.max_seconds and seconds > clip.max_seconds:
        raise ValueError(
            f"{clip.media_path} lasts {seconds:.2f} s, over {clip.max_seconds:g} s, and cannot be"
            " cut, because its text has no times of words"
        )


def frames_of(
    media_path: Path, times: tuple[float, float | None], num_frames: int
) -> tuple[int, int]:
    """The first and the last video frame of a piece with these times in seconds."""
    start, end = times
    first = round(start * VIDEO_FPS)
    last = min(num_frames, round(end * VIDEO_FPS) if end else num_frames) - 1
    if last < first:
        raise ValueError(f"{media_path} ends before {start:.2f} s, where a piece begins")
    return first, last

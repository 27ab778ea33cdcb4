"""Corpus to data directories: python -m mome.bin.prepare_data mini|lrs3|lrs2 ROOT DATA_DIR

Stage 0 of a recipe. For each set of the corpus it extracts 16 kHz audio to AUDIO_DIR/<set>/ and
writes DATA_DIR/<set>/ (see mome/data/datadir.py), checked as a whole. A clip that cannot be used is
listed in skipped.txt with the reason; too many of them, or any of a test set, are an error.
"""

import argparse
import importlib
import logging
import os
from pathlib import Path

from mome import files
from mome.bin import Parser, run, start_logging
from mome.data import frame_range

CORPORA = ("mini", "lrs3", "lrs2")
MAX_APART = 2  # frames by which audio and video may differ in length
VERSION = 2  # of the audio: raise it when the same media would give another wav
log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Write the data directories of a corpus."""
    args = parse(argv)
    if not args.root.is_dir():
        raise FileNotFoundError(
            f"{args.root} is not a folder: give the folder in which the {args.corpus} corpus lies"
        )
    corpus = importlib.import_module(f"mome.corpora.{args.corpus}")
    if args.corpus == "mini":
        sets = {name: corpus.list_clips(args.root, name) for name in corpus.SETS}
    else:
        hours = args.hours or corpus.HOURS[0]
        check_coverage(corpus.coverage(args.root, hours), args.allow_missing)
        sets = corpus.list_sets(args.root, hours)
    check_disjoint(sets, speakers=args.corpus != "lrs2")
    for name, clips in sets.items():
        prepare(clips, args.data_dir / name, args.audio_dir / name, args)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("root", type=Path, help="where the corpus lies")
    parser.add_argument("data_dir", type=Path, help="its sets are written to DATA_DIR/<set>")
    parser.add_argument("--audio_dir", type=Path, default=Path("dump/audio"))
    parser.add_argument(
        "--media_paths",
        choices=("relative", "absolute"),
        default="relative",
        help="paths in the tables: from the folder of the recipe, or whole",
    )
    parser.add_argument("--hours", type=int, help="of training: 433 or 30 (lrs3), 225 (lrs2)")
    parser.add_argument(
        "--allow_missing", action="store_true", help="go on when a split is not as it should be"
    )
    parser.add_argument("--num_jobs", type=int, default=2, help="processes")
    return parser.parse_args(argv)


def check_coverage(rows: list, allow_missing: bool) -> None:
    """Tell how much of each split is there; ValueError unless all is, or that is allowed."""
    for row in rows:
        log.info(f"{row.split}: {row.found} clips found, {row.expected} expected")
    short = [row for row in rows if row.missing]
    if short and not allow_missing:
        text = "; ".join(f"{r.split} has {r.found} clips of {r.expected}" for r in short)
        raise ValueError(
            f"the corpus is not whole: {text}. Clips count with their media and their text; add"
            " what is missing, or give --allow_missing to go on with what is there"
        )


def check_disjoint(sets: dict[str, list], speakers: bool = True) -> None:
    """Raise ValueError when an utterance comes twice, or (`speakers`) a speaker is in two sets."""
    owner: dict[str, str] = {}
    seen: dict[str, Path] = {}
    for name, clips in sets.items():
        for clip in clips:
            if clip.utterance in seen:
                raise ValueError(
                    f"{seen[clip.utterance]} and {clip.media_path} have the same utterance id,"
                    f" {clip.utterance}"
                )
            seen[clip.utterance] = clip.media_path
            if speakers and owner.setdefault(clip.speaker, name) != name:
                raise ValueError(
                    f"speaker {clip.speaker} is in {owner[clip.speaker]} and in {name}: sets must"
                    " not share speakers"
                )


def prepare(clips: list, data_dir: Path, audio_dir: Path, args: argparse.Namespace) -> None:
    """Write the data directory of one set."""
    from mome.data import datadir

    place = os.path.abspath if args.media_paths == "absolute" else os.path.relpath
    wavs = {c.utterance: audio_dir / f"{c.utterance}.wav" for c in clips}
    marks = {
        c.utterance: frame_range.mark(
            c.media_path, bool(c.text), VERSION, *(c.times or ()), *filter(None, (c.max_seconds,))
        )
        for c in clips
    }
    inputs = {
        "version": VERSION,
        "audio_dir": str(audio_dir),
        "media_paths": args.media_paths,
        "clips": [[*map(str, vars(c).values()), marks[c.utterance]] for c in clips],
    }
    known = datadir.read_skipped(data_dir)
    there = all(path.exists() for u, path in wavs.items() if u not in known)
    if files.up_to_date(data_dir, inputs) and there:
        log.info("%s is up to date", data_dir)
        return

    files.clear_stamp(data_dir)
    jobs = {c.utterance: (c, wavs[c.utterance]) for c in clips}
    results, num_new = files.run_clip_jobs(
        extract,
        jobs,
        marks,
        wavs,
        audio_dir / "done.jsonl",
        args.num_jobs,
        f"audio {data_dir.name}",
        start_logging,
    )
    skipped = files.skipped(results)
    where = datadir.write_skipped(data_dir, skipped)
    datadir.check_skipped(skipped, len(clips), datadir.is_test(data_dir), where)
    kept = [c for c in clips if c.utterance not in skipped]
    phones = {c.utterance: place(c.phones_path) for c in kept if c.phones_path}
    seconds = {c.utterance: results[c.utterance]["seconds"] for c in kept}
    datadir.write(
        data_dir,
        datadir.DataDir(
            wav={c.utterance: place(wavs[c.utterance]) for c in kept},
            video={
                c.utterance: frame_range.join(
                    place(c.media_path), results[c.utterance].get("frames")
                )
                for c in kept
            },
            text={c.utterance: c.text for c in kept},
            utt2spk={c.utterance: c.speaker for c in kept},
            utt2dur=seconds,
            phones=phones if len(phones) == len(kept) else None,
        ),
    )
    datadir.validate(data_dir)
    files.write_stamp(data_dir, inputs)
    hours = sum(seconds.values()) / 3600
    log.info(
        f"{data_dir}: {len(kept)} utterances, {hours:.2f} h, {len(skipped)} left out;"
        f" the audio of {len(clips) - num_new} was there"
    )


def extract(clip, wav_path: Path) -> dict:
    """Write the audio of a clip, or of a piece of one; its seconds, and the frames of a piece.

    Raises ValueError when it has no text, no audio, no video, or they differ in length.
    """
    from mome.data import audio, video

    media_path = clip.media_path
    if clip.fault:
        raise ValueError(clip.fault)
    if not media_path.exists():
        raise FileNotFoundError(f"{media_path} does not exist, but its text or a list names it")
    if not clip.text:
        raise ValueError(f"{media_path} has no text")
    samples = audio.read(media_path)
    seconds, num_frames = len(samples) / audio.SAMPLE_RATE, video.count_frames(media_path)
    if abs(seconds * video.FPS - num_frames) > MAX_APART:
        raise ValueError(
            f"{media_path}: its audio lasts {seconds:.2f} s, but its video {num_frames} frames,"
            f" {num_frames / video.FPS:.2f} s"
        )
    if clip.max_seconds and seconds > clip.max_seconds:
        raise ValueError(
            f"{media_path} lasts {seconds:.2f} s, over {clip.max_seconds:g} s, and has no times of"
            " its words to cut it at"
        )
    found = {}
    if clip.times:
        start, end = clip.times
        first = round(start * video.FPS)
        last = min(num_frames, round(end * video.FPS) if end else num_frames) - 1
        if last < first:
            raise ValueError(f"{media_path} ends before {start:.2f} s, where a piece begins")
        frame = audio.SAMPLE_RATE // video.FPS
        samples = samples[first * frame : (last + 1) * frame]
        found = {"frames": [first, last]}
    peak = abs(samples).max()
    audio.write(wav_path, samples / peak if peak > 1 else samples)
    return {"seconds": len(samples) / audio.SAMPLE_RATE, **found}


if __name__ == "__main__":
    run(main)

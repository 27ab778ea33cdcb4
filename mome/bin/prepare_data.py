"""Corpus to data directories: python -m mome.bin.prepare_data mini|lrs3|lrs2 ROOT DATA_DIR

Stage 0 of a recipe. For each set of the corpus it extracts 16 kHz audio to AUDIO_DIR/<set>/ and
writes DATA_DIR/<set>/ (see mome/datadir.py), checked as a whole. A clip that cannot be used is
listed in skipped.txt with the reason; too many of them, or any of a test set, are an error.
"""

import argparse
import importlib
import logging
import multiprocessing
from pathlib import Path

from tqdm import tqdm

from mome import stamp
from mome.bin import run

log = logging.getLogger(__name__)

CORPORA = ("mini", "lrs3", "lrs2")
MAX_APART = 2  # frames by which audio and video may differ in length
VERSION = 1


def extract(job: tuple) -> tuple[str, float, str]:
    """(utterance, media, wav) -> (utterance, seconds, "" or why it cannot be used)."""
    from mome import audio, video

    utterance, media_path, wav_path, text = job
    try:
        if not text:
            raise ValueError(f"{media_path} has no text")
        samples = audio.read(media_path)
        num_frames = video.count_frames(media_path)
        apart = abs(len(samples) / audio.SAMPLE_RATE * video.FPS - num_frames)
        if apart > MAX_APART:
            raise ValueError(
                f"{media_path}: audio lasts {len(samples) / audio.SAMPLE_RATE:.2f} s, but"
                f" {num_frames} video frames last {num_frames / video.FPS:.2f} s"
            )
        peak = abs(samples).max()
        audio.write(wav_path, samples / peak if peak > 1 else samples)
        return utterance, len(samples) / audio.SAMPLE_RATE, ""
    except (ValueError, FileNotFoundError) as error:
        return utterance, 0.0, str(error)


def prepare(clips: list, data_dir: Path, audio_dir: Path, num_jobs: int) -> None:
    """Write the data directory of one set."""
    from mome import datadir

    inputs = {
        "version": VERSION,
        "clips": [
            [c.utterance, str(c.media_path), stamp.digest(c.media_path), c.text] for c in clips
        ],
        "audio_dir": str(audio_dir),
    }
    if stamp.fresh(data_dir, inputs) and audio_dir.is_dir():
        log.info(f"{data_dir} is up to date")
        return
    stamp.clear(data_dir)
    jobs = [
        (c.utterance, str(c.media_path), str(audio_dir / f"{c.utterance}.wav"), c.text)
        for c in clips
    ]
    seconds, skipped = {}, {}
    with multiprocessing.get_context("spawn").Pool(num_jobs) as pool:
        results = pool.imap_unordered(extract, jobs, chunksize=8)
        for utterance, length, why in tqdm(results, data_dir.name, len(jobs), unit="clip"):
            if why:
                skipped[utterance] = why
            else:
                seconds[utterance] = length
    where = datadir.write_skipped(data_dir, skipped)
    datadir.check_skipped(skipped, len(clips), datadir.is_test(data_dir), where)
    kept = [c for c in clips if c.utterance in seconds]
    phones = {c.utterance: str(c.phones_path) for c in kept if c.phones_path}
    datadir.write(
        data_dir,
        datadir.DataDir(
            wav={c.utterance: str(audio_dir / f"{c.utterance}.wav") for c in kept},
            video={c.utterance: str(c.media_path) for c in kept},
            text={c.utterance: c.text for c in kept},
            utt2spk={c.utterance: c.speaker for c in kept},
            utt2dur=seconds,
            phones=phones if len(phones) == len(kept) else None,
        ),
    )
    datadir.validate(data_dir)
    stamp.write(data_dir, inputs)
    hours = sum(seconds.values()) / 3600
    log.info(f"{data_dir}: {len(kept)} utterances, {hours:.2f} h, {len(skipped)} left out")


def main(argv: list[str] | None = None) -> None:
    """Write the data directories of a corpus."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("root", type=Path, help="where the corpus lies")
    parser.add_argument("data_dir", type=Path, help="its sets are written to DATA_DIR/<set>")
    parser.add_argument("--audio_dir", type=Path, default=Path("dump/audio"))
    parser.add_argument("--num_jobs", type=int, default=2, help="processes")
    args = parser.parse_args(argv)
    corpus = importlib.import_module(f"mome.corpora.{args.corpus}")
    sets = {name: corpus.list_clips(args.root, name) for name in corpus.SETS}
    owner: dict[str, str] = {}
    for name, clips in sets.items():
        for clip in clips:
            if owner.setdefault(clip.speaker, name) != name:
                raise ValueError(
                    f"speaker {clip.speaker} is in {owner[clip.speaker]} and in {name}: sets must"
                    " not share speakers"
                )
    for name, clips in sets.items():
        prepare(clips, args.data_dir / name, args.audio_dir / name, args.num_jobs)


if __name__ == "__main__":
    run(main)

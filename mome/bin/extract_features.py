"""Frozen encoders over a data set, once: python -m mome.bin.extract_features DATA MOUTHS FEATS ...

Stage 2 of a recipe. Writes FEATS_DIR/{audio,video}.scp (arks lie in FEATS_DIR/jobs), text,
utt2num_frames (audio, 50 a second), utt2num_video_frames (25), skipped.txt, feats.json; for a
training set also audio_noisy<n>.scp, copies in noise (babble of other speakers), since the noise
that training adds (MoME §4.1) must be there before the encoder, and noisy<n>.tsv: utterance, SNR
and what the noise was made of. `none` for the mouths or for an encoder leaves that stream out.
Before it starts it says how much disk the features take, and stops when there is less.

The set is split by utterance in --num_jobs processes; the numbers do not depend on how many. On a
cluster, run `--job 1/8` ... `--job 8/8` anywhere, then `--merge --num_jobs 8`.
"""

import argparse
import logging
import time
from pathlib import Path

from mome import files
from mome.bin import Parser, device_of, job_of, run, start_jobs
from mome.data.extraction import check_disk, describe, extract, merge, remove_other_jobs

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    inputs = describe(args)
    if files.up_to_date(args.feats_dir, inputs):
        log.info("%s is up to date", args.feats_dir)
        return
    if args.job:
        args.device = args.device or device_of(args.job)
        extract(args, *args.job, inputs)
        return
    files.clear_stamp(args.feats_dir)
    start = time.monotonic()
    if not args.merge:
        check_disk(args)
        remove_other_jobs(args.feats_dir, args.num_jobs)
        if args.num_jobs == 1:
            args.device = args.device or device_of((1, 1))
            extract(args, 1, 1, inputs)
        else:
            start_jobs("extract_features", argv, args.num_jobs, str(args.feats_dir))
    seconds = merge(args, inputs)
    took = time.monotonic() - start
    log.info(
        "%s: %.0f s of media in %.0f s (%.0f x)", args.feats_dir, seconds, took, seconds / took
    )
    files.write_stamp(args.feats_dir, inputs)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("data_dir", type=Path)
    add("mouths_dir", type=or_none, help="folder with mouths.scp, or none")
    add("feats_dir", type=Path)
    add("--audio_encoder", type=or_none, required=True, help="folder or hub id of Whisper, or none")
    add("--video_encoder", type=or_none, required=True, help="folder of AV-HuBERT, or none")
    add(
        "--pad_to_30s", action="store_true", help="silence up to 30 s after each clip, as the paper"
    )
    add("--store_rate", type=int, default=1, help="audio frames that are averaged into one on disk")
    add("--num_noisy_copies", type=int, default=0, help="copies of the audio in noise")
    add("--noise", choices=["babble", "speech_shaped", "pink", "white"], default="babble")
    add("--noise_dir", type=Path, help="noise files of your own, instead of made noise")
    add("--noise_data", type=Path, help="data directory of the voices; default: DATA_DIR")
    add("--num_voices", type=int, default=30, help="utterances of other speakers in the babble")
    add("--noisy_snrs", type=float, nargs="+", default=[-5, 0, 5, 10, 15, 20], help="dB")
    add("--seed", type=int, default=1, help="of the noise")
    add("--device", help="cpu, cuda, ...; default: a GPU when there is one")
    add("--num_jobs", type=int, default=1, help="processes")
    add("--job", type=job_of, help="only this one, as i/n; writes FEATS_DIR/jobs/<i>of<n>")
    add("--merge", action="store_true", help="only join what --num_jobs jobs have written")
    args = parser.parse_args(argv)
    if bool(args.mouths_dir) != bool(args.video_encoder):
        parser.error("MOUTHS_DIR and --video_encoder must both be given, or both be none")
    if not args.audio_encoder and (not args.video_encoder or args.num_noisy_copies):
        parser.error("--audio_encoder none leaves nothing to do, or nothing to add noise to")
    if min(args.num_jobs, args.num_voices, args.store_rate) < 1 or args.num_noisy_copies < 0:
        parser.error(
            "--num_jobs, --num_voices and --store_rate must be 1 or more, --num_noisy_copies 0 or"
            " more"
        )
    args.noise_data = args.noise_data or args.data_dir
    return args


def or_none(text: str) -> str | None:
    return None if text == "none" else text


if __name__ == "__main__":
    run(main)

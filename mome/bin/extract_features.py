"""Frozen encoders over a data set, once: python -m mome.bin.extract_features DATA MOUTHS FEATS ...

Stage 2 of a recipe. Writes FEATS_DIR/{audio,video}.scp (arks lie in FEATS_DIR/jobs), text,
utt2num_frames (audio, 50 a second), utt2num_video_frames (25), skipped.txt, feats.json. A training
set also gets audio_noisy<n>.scp, copies in noise (babble of other speakers), because the noise that
training adds (MoME A.3) must be there before the encoder, and noisy<n>.tsv: utterance, SNR in dB,
where the noise comes from. `none` for the mouths or for an encoder leaves that stream out.
Before it starts, it says how much disk the features take; if less is free, it stops.

Utterances of similar length are encoded together. --num_jobs processes share these batches, and the
numbers do not depend on how many. The log tells how much is done, a terminal shows it.
On a cluster, run `--job 1/8` ... `--job 8/8` anywhere, then `--merge --num_jobs 8`.
"""

import argparse
import dataclasses
import logging
import time
from pathlib import Path

from mome.bin import Parser, run
from mome.bin._jobs import add_skip_options, device_of, job_of, start_jobs
from mome.data import extraction, noise, validation
from mome.data.extraction import Options

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Extract the features of a set, or the part of one job, unless they are up to date."""
    args = parse(argv)
    options = options_of(args)
    if extraction.up_to_date(options):
        return
    if args.job:
        run_job(options, args.job, args.device)
        return
    start = time.monotonic()
    if not args.merge:
        extraction.prepare(options, args.num_jobs)
        if args.num_jobs == 1:
            run_job(options, (1, 1), args.device)
        else:
            start_jobs("extract_features", argv, args.num_jobs, str(args.feats_dir))
    limits = args.max_skipped, args.max_skipped_test
    seconds = extraction.merge(options, args.num_jobs, *limits)
    took = time.monotonic() - start
    log.info(f"{args.feats_dir}: {seconds:.0f} s of media in {took:.0f} s ({seconds / took:.0f} x)")


def run_job(options: Options, job: tuple[int, int], device: str | None) -> None:
    """Do one job, unless it is done."""
    if not extraction.up_to_date(options, job):
        extraction.extract(options, job, device or device_of(job))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command's options, checked."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("data_dir", type=Path)
    add("mouths_dir", type=or_none, help="folder with mouths.scp, or none")
    add("feats_dir", type=Path)
    add("--audio_encoder", type=or_none, required=True, help="folder or hub id of Whisper, or none")
    add("--video_encoder", type=or_none, required=True, help="folder of AV-HuBERT, or none")
    add("--video_from", type=Path, help="features of a set with the same mouths; takes its video")
    padded = "silence up to 30 s after each clip, as in the paper"
    add("--pad_to_30s", action="store_true", help=padded)
    add(
        "--store_rate",
        type=int,
        default=Options.store_rate,
        help="audio frames that are averaged into one on disk",
    )
    add(
        "--num_noisy_copies",
        type=int,
        default=Options.num_noisy_copies,
        help="noisy copies of the audio",
    )
    add("--noise", choices=noise.MADE, default=Options.noise)
    add("--noise_dir", type=Path, help="noise files of your own, instead of made noise")
    add("--noise_data", type=Path, help="data directory of the voices; default: DATA_DIR")
    add(
        "--num_voices", type=int, default=Options.num_voices, help="of other speakers in the babble"
    )
    add("--noisy_snrs", type=float, nargs="+", default=list(Options.noisy_snrs), help="dB")
    add("--seed", type=int, default=Options.seed, help="of the noise")
    add("--device", help="cpu, cuda, ...; default: a GPU when there is one")
    add("--num_jobs", type=int, default=1, help="processes")
    add("--job", type=job_of, help="only this one, as i/n; writes FEATS_DIR/jobs/<i>of<n>")
    add("--merge", action="store_true", help="only join what --num_jobs jobs have written")
    add_skip_options(parser, validation.MAX_SKIPPED)
    args = parser.parse_args(argv)
    if bool(args.mouths_dir) != bool(args.video_encoder):
        parser.error("MOUTHS_DIR and --video_encoder must both be given, or both be none")
    if not args.audio_encoder and (not args.video_encoder or args.num_noisy_copies):
        parser.error("--audio_encoder none leaves nothing to do, or nothing to add noise to")
    if args.video_from and not args.video_encoder:
        parser.error("--video_from needs the --video_encoder that made the features there")
    if min(args.num_jobs, args.num_voices, args.store_rate) < 1 or args.num_noisy_copies < 0:
        parser.error(
            "--num_jobs, --num_voices and --store_rate must be 1 or more, --num_noisy_copies 0 or"
            " more"
        )
    return args


def or_none(text: str) -> str | None:
    return None if text == "none" else text


def options_of(args: argparse.Namespace) -> Options:
    """What the features are made from; the other options are about the processes."""
    names = [field.name for field in dataclasses.fields(Options)]
    return Options(**{name: getattr(args, name) for name in names})


if __name__ == "__main__":
    run(main)

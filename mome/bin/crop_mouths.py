"""Crop the mouths of a data set: python -m mome.bin.crop_mouths data/train dump/mouths/train

Stage 1 of a recipe. Writes OUT_DIR/<speaker>/<utterance>.mp4 (96x96, grey, 25 frames a second),
mouths.scp, and lists of clips: skipped.txt (left out, such as those without a face), low_face.txt
(a face in less than 90 % of the images) and notes.txt (such as damaged images). Clips that are
cropped already, from the same media with the same landmarks, are not cropped again.

On a cluster, run `--job 1/8` to `--job 8/8` anywhere, then the command without --job: it joins what
the jobs have written.
"""

from pathlib import Path

from mome.bin import Parser, run, start_logging
from mome.bin._jobs import add_skip_options, job_of, share_of


def main(argv: list[str] | None = None) -> None:
    """Parse the options and crop the mouths."""
    from mome.data import landmarks, mouths, validation

    parser = Parser(__doc__)
    add = parser.add_argument
    add("data_dir", type=Path, help="such as data/train")
    add("out_dir", type=Path, help="such as dump/mouths/train")
    add(
        "--landmarks",
        choices=landmarks.METHODS,
        default="mediapipe",
        help="how to find the mouth; centre cuts a fixed box, for clips that are face tracks",
    )
    add(
        "--landmarks_every",
        type=int,
        default=1,
        metavar="N",
        help="find them in each N-th image and interpolate, which is faster",
    )
    add(
        "--min_found",
        type=share_of,
        default=mouths.MIN_FOUND,
        metavar="SHARE",
        help="leave out a clip with a face in a smaller share of its images",
    )
    add("--num_jobs", type=int, default=2, help="processes")
    add("--job", type=job_of, help="crop only this part of the set, as i/n")
    add_skip_options(parser, validation.MAX_SKIPPED)
    args = parser.parse_args(argv)
    if args.landmarks_every < 1:
        parser.error("--landmarks_every must be 1 or more")
    mouths.crop_set(
        args.data_dir,
        args.out_dir,
        args.landmarks,
        args.landmarks_every,
        args.num_jobs,
        args.job,
        args.max_skipped,
        args.max_skipped_test,
        start_logging,
        args.min_found,
    )


if __name__ == "__main__":
    run(main)

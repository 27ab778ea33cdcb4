"""Make data directories of a corpus: python -m mome.bin.prepare_data lrs3 /data/LRS3 data

Stage 0 of a recipe. For each set of the corpus it extracts 16 kHz audio to AUDIO_DIR/<set>/ and
writes DATA_DIR/<set>/ (its tables are described in mome/data/datadir.py). Clips that cannot be used
are listed in skipped.txt with the reason; too many of them are an error.
"""

from pathlib import Path

from mome import corpora
from mome.bin import Parser, run, start_logging
from mome.bin._jobs import add_skip_options


def main(argv: list[str] | None = None) -> None:
    """Parse the options and write the data directories."""
    from mome.data import preparation, validation

    parser = Parser(__doc__)
    add = parser.add_argument
    add("corpus", choices=corpora.names())
    add("root", type=Path, help="folder of the corpus")
    add("data_dir", type=Path, help="each set is written to DATA_DIR/<set>")
    add("--audio_dir", type=Path, default=Path("dump/audio"), help="where the audio is written")
    add(
        "--media_paths",
        choices=("relative", "absolute"),
        default="relative",
        help="paths in the tables: relative to the working folder, or absolute",
    )
    add("--hours", type=int, help=f"hours of training data: {hours_to_choose()}")
    add("--allow_missing", action="store_true", help="accept splits that lack clips")
    add("--num_jobs", type=int, default=2, help="processes")
    add_skip_options(parser, validation.MAX_SKIPPED)
    args = parser.parse_args(argv)
    options = preparation.Options(
        audio_dir=args.audio_dir,
        media_paths=args.media_paths,
        num_jobs=args.num_jobs,
        max_skipped=args.max_skipped,
        max_skipped_test=args.max_skipped_test,
        start=start_logging,
    )
    preparation.prepare_corpus(
        args.corpus, args.root, args.data_dir, options, args.hours, args.allow_missing
    )


def hours_to_choose() -> str:
    """`225 (lrs2), 433 or 30 (lrs3)`."""
    choices = {name: corpora.load(name).HOURS for name in corpora.names()}
    return ", ".join(f"{' or '.join(map(str, h))} ({name})" for name, h in choices.items() if h)


if __name__ == "__main__":
    run(main)

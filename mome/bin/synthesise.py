"""Make the mini corpus, talking heads: python -m mome.bin.synthesise ROOT [--layout lrs3|lrs2] ...

Speakers say sentences: eSpeak NG gives the sound, and the lips of drawn faces move with its phones.
Training, validation and test share neither speakers nor voices nor sentences, and every word of the
other two occurs in the training sentences. Folders and files are like those of LRS3 or of LRS2
(mome/corpora/mini.py describes them). The same options give the same bytes, for any --num_jobs. A
run that was stopped continues, and a second run does nothing.
"""

from pathlib import Path

from mome.bin import Parser, run
from mome.synthesis import corpus


def main(argv: list[str] | None = None) -> None:
    """Make the corpus."""
    parser = Parser(__doc__)
    default, add = corpus.Settings(), parser.add_argument
    add("root", type=Path, help="folder of the corpus")
    add("--layout", choices=["lrs3", "lrs2"], default=default.layout, help="of folders and files")
    add("--train_speakers", type=int, default=default.train_speakers)
    add("--valid_speakers", type=int, default=default.valid_speakers)
    add("--test_speakers", type=int, default=default.test_speakers)
    add(
        "--clips_per_speaker",
        type=int,
        default=default.clips_per_speaker,
        help="of each training speaker",
    )
    add(
        "--eval_clips_per_speaker",
        type=int,
        default=default.eval_clips_per_speaker,
        help="of each validation or test speaker",
    )
    add("--seed", type=int, default=default.seed, help="of all random draws")
    add("--num_jobs", type=int, default=2, help="processes")
    args = vars(parser.parse_args(argv))
    root, num_jobs = args.pop("root"), args.pop("num_jobs")
    if num_jobs < 1:
        parser.error("--num_jobs must be at least 1")
    try:
        settings = corpus.Settings(**args)
    except ValueError as error:
        parser.error(f"--{error}")
    corpus.synthesise(root, settings, num_jobs)


if __name__ == "__main__":
    run(main)

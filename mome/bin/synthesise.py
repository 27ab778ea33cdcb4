"""Make the mini corpus, talking heads: python -m mome.bin.synthesise ROOT [--layout lrs3|lrs2] ...

Speakers say sentences; eSpeak NG gives the sound, their drawn faces move their lips by its phones.
Training, validation and test share neither speakers nor voices nor sentences, and every word of the
others is in the training sentences. The files lie as those of LRS3 or of LRS2 do (mome/corpora/
mini.py says how). The same options give the same bytes, whatever --num_jobs is; a run that was
stopped goes on where it was, and a second run does nothing.
"""

import argparse
from pathlib import Path

from mome.bin import Parser, run
from mome.synthesis import corpus


def main(argv: list[str] | None = None) -> None:
    """Make the corpus."""
    corpus.synthesise(parse(argv))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("root", type=Path, help="folder of the corpus")
    add("--layout", choices=["lrs3", "lrs2"], default="lrs3", help="how the files lie")
    add("--train_speakers", type=int, default=40)
    add("--valid_speakers", type=int, default=4)
    add("--test_speakers", type=int, default=8)
    add("--clips_per_speaker", type=int, default=45, help="of each training speaker")
    add("--eval_clips_per_speaker", type=int, default=14, help="of each other speaker")
    add("--seed", type=int, default=1, help="of everything that chance decides")
    add("--num_jobs", type=int, default=2, help="processes")
    args = parser.parse_args(argv)
    for name in ("train_speakers", "clips_per_speaker", "num_jobs"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    for name in ("valid_speakers", "test_speakers", "eval_clips_per_speaker", "seed"):
        if getattr(args, name) < 0:
            parser.error(f"--{name} must not be negative")
    return args


if __name__ == "__main__":
    run(main)

"""Check data and feature directories: python -m mome.bin.validate data/train dump/feats/train ...

Every table is read as a whole: each utterance must be in all of them, once and in order, and the
values must fit together. Of a data directory, the media files must exist. Of a feature directory,
`--arrays` also reads all frames and compares them with the tables.

Every command makes the checks of the tables when it reads a directory. This one makes them before a
long job starts, for tables that were written by hand, for example.
"""

import logging
from pathlib import Path

from mome.bin import Parser, run
from mome.data import VIDEO_FPS, featdir, validation

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Check each directory; the first fault ends the command with one line."""
    parser = Parser(__doc__)
    parser.add_argument("dirs", nargs="+", type=Path, metavar="DIR", help="data/x or dump/feats/x")
    parser.add_argument("--arrays", action="store_true", help="also read all frames")
    args = parser.parse_args(argv)
    for path in args.dirs:
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is no folder: give data/<set> or dump/feats/<set>")
        if (path / "feats.json").exists() or (path / "utt2num_frames").exists():
            print(check_features(path, args.arrays))
        else:
            print(check_data(path))


def check_data(path: Path) -> str:
    """One line about a data directory that has no fault."""
    data = validation.validate(path)
    hours = sum(data.utt2dur.values()) / 3600
    num_speakers = len(set(data.utt2spk.values()))
    return f"{path}: {len(data.text)} utterances, {num_speakers} speakers, {hours:.2f} h: no fault"


def check_features(path: Path, arrays: bool) -> str:
    """One line about a feature directory that has no fault."""
    streams = [s for s in ("audio", "video") if (path / featdir.COUNTS[s]).exists()]
    found = featdir.read(path, streams)
    longest = {s: sum(found.num_frames[s].values()) for s in streams}
    hours = max(n / (VIDEO_FPS * (2 if s == "audio" else 1)) for s, n in longest.items()) / 3600
    if arrays:
        from mome.data.dataset import Pick  # PyTorch takes seconds
        from mome.data.features import Archives

        source = Archives(path, streams)
        for stream in streams:
            for copy in range(source.num_noisy + 1 if stream == "audio" else 1):
                for utterance in source.text:
                    source.frames(stream, [(utterance, Pick(0, copy))])
    what = f"{' and '.join(streams)}, {len(found.noisy)} noisy copies"
    return f"{path}: {len(found.text)} utterances, {hours:.2f} h, {what}: no fault"


if __name__ == "__main__":
    run(main)

"""A piece of a media file in a Kaldi table: `path/to/clip.mp4[80:246]`.

The frames of the piece, the first and the last one, at 25 a second, as Kaldi writes ranges of rows
behind a file. A media file's name ends with its extension, so brackets elsewhere are its own.
"""

import re
from pathlib import Path

from mome import files


def split(entry: str | Path) -> tuple[Path, tuple[int, int] | None]:
    """The file of an entry and its range of frames, None when it is the whole file."""
    found = re.fullmatch(r"(.+)\[(\d+):(\d+)\]", str(entry))
    if not found:
        return Path(entry), None
    return Path(found[1]), (int(found[2]), int(found[3]))


def join(path: str | Path, frames: tuple[int, int] | None) -> str:
    """The entry of a file, or of a range of its frames."""
    return str(path) if frames is None else f"{path}[{frames[0]}:{frames[1]}]"


def mark(entry: str | Path, *options: object) -> str:
    """`files.clip_mark` of an entry: it changes with the file, the options and the frames."""
    path, frames = split(entry)
    return files.clip_mark(path, *options, *(frames or ()))

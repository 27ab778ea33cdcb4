"""A piece of a media file in a Kaldi table: `path/to/clip.mp4[80:246]`.

The numbers are the first and the last frame of the piece at 25 frames a second, in the notation of
Kaldi's row ranges. Brackets inside a file name do no harm: a range stands behind the extension.
"""

import re
from pathlib import Path


def split(entry: str | Path) -> tuple[Path, tuple[int, int] | None]:
    """The file of an entry, and its first and last frame; None for the whole file."""
    found = re.fullmatch(r"(.+)\[(\d+):(\d+)\]", str(entry))
    if not found:
        return Path(entry), None
    return Path(found[1]), (int(found[2]), int(found[3]))


def join(path: str | Path, frames: tuple[int, int] | None) -> str:
    """The entry of a file, or of the frames from the first to the last one given."""
    return str(path) if frames is None else f"{path}[{frames[0]}:{frames[1]}]"

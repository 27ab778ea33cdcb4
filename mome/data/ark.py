"""Feature matrices on disk: Kaldi archives and their index, `x.ark` and `x.scp`.

An index line is `<utterance> <ark path>:<byte offset>`, sorted as bytes. Shapes: (T, D), T frames
of width D. kaldiio writes no float16, so values are stored in two bytes by Kaldi's own compression:
65536 levels between the smallest and the largest value of a matrix.
"""

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import kaldiio
import numpy as np
from kaldiio.compression_header import kTwoByteAuto  # 3; method 2 keeps one byte a value
from kaldiio.matio import read_matrix_or_vector

from mome import files
from mome.data import tables

LARGEST = 1e5  # no encoder gives such values; normalised frames stay below 1000
BINARY = b"\0B"  # first bytes of each entry
REMEDY = "delete the folder and run the stage of the recipe that writes it again"


def write_ark(
    scp_path: str | Path, items: Iterable[tuple[str, np.ndarray]], compress: bool = True
) -> dict[str, int]:
    """Write (utterance, (T, D) float32) pairs to an ark next to `scp_path`, then the index.

    Whatever goes wrong (a full disk, an error of `items`), both files are whole or not there, and
    no index points into an ark that is not its own. Returns the number of frames of each utterance.
    Raises ValueError for a matrix that is empty, not 2-D or not finite, and for an utterance that
    comes twice.
    """
    scp_path = Path(scp_path)
    ark_path = scp_path.with_suffix(".ark")
    method = kTwoByteAuto if compress else None
    entries: dict[str, str] = {}
    num_frames: dict[str, int] = {}
    with files.atomic_write(ark_path) as tmp_path:
        with tmp_path.open("wb") as file:
            for utterance, x in items:
                if utterance in entries:
                    raise ValueError(f"{utterance} comes twice in the features for {ark_path}")
                x = _checked(x, f"features of {utterance} for {ark_path}")
                offset = file.tell() + len(utterance.encode()) + 1
                kaldiio.save_ark(file, {utterance: x}, compression_method=method)
                entries[utterance] = f"{ark_path}:{offset}"
                num_frames[utterance] = len(x)
        scp_path.unlink(missing_ok=True)  # it points into the ark that is now replaced
    write_scp(scp_path, entries)
    return num_frames


def _checked(x: np.ndarray, name: str) -> np.ndarray:
    """The matrix as float32. Raises ValueError, which calls it `name`, when it is none."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"{name} have no frames (shape {x.shape})")
    if not is_sound(x):
        raise ValueError(f"{name} have values that are not finite or above {LARGEST:g}")
    return x


def is_sound(x: np.ndarray) -> bool:
    """Whether all values are finite and of a size that frames can have."""
    return bool(x.min() > -LARGEST and x.max() < LARGEST)  # NaN compares as False


def write_scp(scp_path: str | Path, entries: dict[str, str]) -> None:
    """Write an index, sorted."""
    lines = (f"{utterance} {entries[utterance]}\n" for utterance in sorted(entries, key=str.encode))
    files.write_text(scp_path, "".join(lines))


def read_scp(scp_path: str | Path) -> dict[str, str]:
    """Entry (`ark path:offset`) by utterance. Raises FileNotFoundError, or ValueError."""
    return tables.read(scp_path, may_be_empty=True)  # a job may have had nothing to do


def load(entry: str, utterance: str | None = None) -> np.ndarray:
    """The matrix (T, D) float32 at `ark path:offset`; `utterance` is for the error message.

    Raises FileNotFoundError when there is no such ark, and ValueError when it ends early, or holds
    something else there, or values that are not finite or larger than any frame's.
    """
    ark_path, _, offset = entry.rpartition(":")
    whose = utterance or f"the entry at byte {offset}"
    if not ark_path or not offset.isdigit():
        raise ValueError(
            f"'{entry}' of {whose} is not of the form 'ark path:byte offset': {REMEDY}"
        )
    if not os.path.exists(ark_path):
        raise FileNotFoundError(f"{ark_path}, which holds {whose}, does not exist: {REMEDY}")
    with open(ark_path, "rb") as file:
        file.seek(int(offset))
        if file.read(len(BINARY)) == BINARY:
            file.seek(int(offset))
            try:
                x = read_matrix_or_vector(file)
            except (ValueError, AssertionError, RuntimeError, struct.error, MemoryError):
                x = np.zeros(0)
            if x.ndim == 2 and x.size:
                if not is_sound(x):
                    raise ValueError(
                        f"{ark_path} holds values that are not finite or above {LARGEST:g}, of"
                        f" {whose} at byte {offset}: {REMEDY}"
                    )
                return np.asarray(x, dtype=np.float32)
    raise ValueError(
        f"{ark_path} is truncated or corrupt ({os.path.getsize(ark_path)} bytes): cannot read"
        f" {whose} at byte {offset}; {REMEDY}"
    )

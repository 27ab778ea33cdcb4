"""Feature matrices on disk: Kaldi archives and their index, `x.ark` and `x.scp`.

An index line is `<utterance> <ark path>:<byte offset>`, sorted as bytes. Shapes: (T, D), T frames
of width D. kaldiio writes no float16, so archives are halved by Kaldi's own two-byte compression:
65536 levels between the smallest and the largest value of a matrix.
"""

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import kaldiio
import numpy as np
from espnet2.fileio.read_text import read_2columns_text
from kaldiio.compression_header import kTwoByteAuto  # 3; method 2 keeps one byte a value
from kaldiio.matio import read_matrix_or_vector

BINARY = b"\0B"  # first bytes of each entry
REMEDY = "delete the folder and run the stage of the recipe that writes it again"


def write_ark(
    scp_path: str | Path, items: Iterable[tuple[str, np.ndarray]], compress: bool = True
) -> dict[str, int]:
    """Write (utterance, (T, D) float32) pairs to an ark beside `scp_path`, then the index.

    Both are written beside and renamed: whatever goes wrong (a full disk, an error of `items`),
    no half file has the final name, and no index points into an ark that is not its own.
    Returns the number of frames of each utterance. Raises ValueError for a matrix that is empty,
    not 2-D or not finite, and for an utterance that comes twice.
    """
    scp_path = Path(scp_path)
    ark_path = scp_path.with_suffix(".ark")
    ark_path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(f"{ark_path}.tmp")
    entries: dict[str, str] = {}
    num_frames: dict[str, int] = {}
    try:
        with beside.open("wb") as file:
            for utterance, x in items:
                x = np.ascontiguousarray(x, dtype=np.float32)
                if x.ndim != 2 or not x.size or not np.isfinite(x).all():
                    what = "values that are not finite" if x.ndim == 2 and x.size else "no frames"
                    raise ValueError(
                        f"features of {utterance} for {ark_path} have {what} (shape {x.shape})"
                    )
                if utterance in entries:
                    raise ValueError(f"{utterance} comes twice in the features for {ark_path}")
                offset = file.tell() + len(utterance.encode()) + 1
                method = kTwoByteAuto if compress else None
                kaldiio.save_ark(file, {utterance: x}, compression_method=method)
                entries[utterance] = f"{ark_path}:{offset}"
                num_frames[utterance] = len(x)
        scp_path.unlink(missing_ok=True)
        os.replace(beside, ark_path)
    finally:
        beside.unlink(missing_ok=True)
    write_scp(scp_path, entries)
    return num_frames


def write_scp(scp_path: str | Path, entries: dict[str, str]) -> None:
    """Write an index, sorted; beside, then renamed."""
    beside = Path(f"{scp_path}.tmp")
    lines = (f"{utterance} {entries[utterance]}\n" for utterance in sorted(entries, key=str.encode))
    try:
        beside.write_text("".join(lines), encoding="utf-8")
        os.replace(beside, scp_path)
    finally:
        beside.unlink(missing_ok=True)


def read_scp(scp_path: str | Path) -> dict[str, str]:
    """Entry (`ark path:offset`) by utterance. Raises FileNotFoundError, or ValueError."""
    if not Path(scp_path).exists():
        raise FileNotFoundError(f"{scp_path} is missing: run the stage that writes its folder")
    try:
        return read_2columns_text(scp_path)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{scp_path} is not an index of an ark: {error}; {REMEDY}") from None


def load(entry: str, utterance: str | None = None) -> np.ndarray:
    """The matrix (T, D) float32 at `ark path:offset`; `utterance` is for the error message.

    Raises FileNotFoundError when there is no such ark, and ValueError when it ends early or holds
    something else there.
    """
    ark_path, _, offset = entry.rpartition(":")
    whose = utterance or f"the entry at byte {offset}"
    if not ark_path or not offset.isdigit():
        raise ValueError(f"'{entry}' of {whose} is not of the form 'ark path:byte offset'")
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
            if x.ndim == 2 and x.size and np.isfinite(x).all():
                return np.asarray(x, dtype=np.float32)
    raise ValueError(
        f"{ark_path} is truncated or corrupt ({os.path.getsize(ark_path)} bytes): cannot read"
        f" {whose} at byte {offset}; {REMEDY}"
    )


def merge(scp_paths: Iterable[str | Path], out_scp: str | Path) -> dict[str, str]:
    """Join the indices of parallel jobs in one, sorted; the arks stay where they are.

    Raises ValueError for an utterance that two of them have.
    """
    merged: dict[str, str] = {}
    for scp_path in scp_paths:
        entries = read_scp(scp_path)
        twice = sorted(merged.keys() & entries.keys())
        if twice:
            raise ValueError(f"{scp_path} has {twice[0]}, which another job has written too")
        merged.update(entries)
    write_scp(out_scp, merged)
    return merged

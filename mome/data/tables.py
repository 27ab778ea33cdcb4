"""Tables of Kaldi: each line of a file has an utterance (or a speaker), and its value.

A table is checked as a whole when it is read. A fault is one line with the file, the line in it,
the utterance and what to do. A million lines take about a second.
"""

import itertools
import operator
from collections.abc import Collection, Mapping
from pathlib import Path

REMEDY = "repair it, or run the stage of the recipe that writes it again"
SHOWN = 3  # faults listed in one message


def read(
    path: str | Path, may_be_empty: bool = False, ours: bool = True, needs_value: bool = True
) -> dict[str, str]:
    """The values of a table by utterance, in the order of the file.

    Raises FileNotFoundError, or ValueError for the first line that is not UTF-8, is empty, has no
    value, repeats an utterance, is out of order (`LC_ALL=C sort`), or has an utterance that could
    not be part of a file's name. A table that other programs may have made (not `ours`) may be in
    any order, begin with a byte order mark, and name utterances as it likes.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run the stage of the recipe that writes it")
    if not path.is_file():
        raise ValueError(f"{path} is no file: remove it and run the stage that writes it again")
    data = path.read_bytes()
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x}"
        raise ValueError(f"{path}, line {number}: {byte} is not UTF-8: {REMEDY}") from None
    if not ours:
        lines[0] = lines[0].removeprefix("\ufeff")
    if not lines[-1]:
        lines.pop()
    if not lines and not may_be_empty:
        raise ValueError(f"{path} is empty: {REMEDY}")
    pairs = [line.split(maxsplit=1) for line in lines]
    if fault := _first_fault(pairs, ours, needs_value):
        raise ValueError(f"{path}, {fault}: {REMEDY}")
    return {key: value[0].rstrip() if value else "" for key, *value in pairs}


def _first_fault(pairs: list[list[str]], ours: bool, needs_value: bool) -> str:
    """What is wrong with the first line that is wrong; empty when none is."""
    keys = [pair[0] if pair else "" for pair in pairs]
    # Python compares text by code points, which is the order of the bytes of UTF-8.
    in_order = all(map(operator.lt, keys, itertools.islice(keys, 1, None)))
    joined = "\n" + "\n".join(keys)
    whole = in_order and min(map(len, pairs), default=2) == 2
    if whole and not any(odd in joined for odd in ("/", "\n.", "\ufeff")):
        return ""
    seen: dict[str, int] = {}
    for number, (pair, key) in enumerate(zip(pairs, keys, strict=True), start=1):
        line = f"line {number}"
        if not key:
            return f"{line} is empty"
        if ours and key[0] == "\ufeff":
            return f"{line} begins with a byte order mark: save the file as UTF-8 without one"
        if ours and ("/" in key or key in (".", "..")):
            return f"{line}: {key} would be part of file names, so it must be without /"
        if needs_value and len(pair) < 2:
            return f"{line}: {key} has no value"
        if key in seen:
            return f"{line}: {key} is on line {seen[key]} too"
        if ours and number > 1 and key < keys[number - 2]:
            return f"{line}: {key} is out of order; LC_ALL=C sort gives the right one"
        seen[key] = number
    return ""


def line_of(table: Collection[str], key: str) -> int:
    """The number of the line of an utterance in the file of a table that `read` gave."""
    return list(table).index(key) + 1


def key_faults(
    name: str, table: Mapping[str, object], ref_name: str, ref: Mapping[str, object]
) -> list[str]:
    """What is wrong with the utterances of a table that must be those of another one."""
    if table.keys() == ref.keys():
        return []
    lacks = [
        f"{name} lacks {key}, which is on line {line_of(ref, key)} of {ref_name}"
        for key in ref
        if key not in table
    ]
    more = [
        f"{name}, line {line_of(table, key)}: {key} is not in {ref_name}"
        for key in table
        if key not in ref
    ]
    return lacks + more


def check(folder: str | Path, kind: str, faults: list[str], remedy: str) -> None:
    """Raise ValueError, in one line, when there are faults: the first ones, and how many more."""
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        shown = "; ".join(faults[:SHOWN])
        raise ValueError(f"{folder} is not a valid {kind}: {shown}{more}: {remedy}")

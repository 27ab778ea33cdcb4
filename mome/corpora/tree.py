"""Folders and files of a corpus as they are: what cannot be used is said in words.

A large tree holds entries that nobody expects: links that lead nowhere, names in another encoding,
named pipes, files that may not be read. The readers of the corpora look at a tree through this
file, so that such an entry becomes a clip with a fault and not the end of a stage. Nothing here
opens a file before its kind is known, since opening a named pipe waits for ever.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from mome import files

MAX_TEXT = 1 << 20  # bytes of a transcript
MAX_TABLE = 1 << 30  # bytes of a list or table of a whole corpus
MAX_NAME = 200  # bytes of a name; names of files that are made of it are a little longer
KINDS: list[tuple[Callable[[int], bool], str]] = [
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
]


def names_in(folder: Path) -> list[str]:
    """The names in a folder, sorted by bytes, without hidden ones.

    Raises ValueError, in words, when the folder cannot be listed.
    """
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError as error:
        raise ValueError(f"{printable(folder)} cannot be listed: {reason_of(error)}") from None
    return sorted(names, key=os.fsencode)


def by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, list[Path]]:
    """The files of a folder that end so, in lower or upper case, by their stem.

    A stem has more than one file when names differ in the case of their ending alone. Raises
    ValueError when the folder cannot be listed.
    """
    found: dict[str, list[Path]] = {}
    wanted = set(suffixes)
    for name in names_in(folder):
        path = folder / name
        if path.suffix.lower() in wanted:
            found.setdefault(path.stem, []).append(path)
    return found


def fault_of_file(path: Path) -> str:
    """Why a file cannot be read; "" when it can. It is not opened."""
    name = printable(path)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return f"{name} is a symbolic link that leads back to itself"
        if error.errno == errno.ENOENT and os.path.islink(path):
            return (
                f"{name} is a symbolic link to {printable(os.readlink(path))}, which is not there"
            )
        if error.errno == errno.ENOENT:
            return f"{name} does not exist"
        return f"{name} cannot be read: {reason_of(error)}"
    if not stat.S_ISREG(mode):
        kind = next((kind for test, kind in KINDS if test(mode)), "something else")
        return f"{name} is {kind}, not a file"
    return "" if os.access(path, os.R_OK) else f"{name} may not be read: permission denied"


def fault_of_folder(path: Path) -> str:
    """Why a folder cannot be used: its kind or its name; "" when it can."""
    if fault := fault_of_name(path.name):
        return f"{printable(path)}: {fault}"
    if os.path.isdir(path):
        return ""
    return fault_of_file(path) or f"{printable(path)} is a file, not a folder"


def fault_of_name(name: str) -> str:
    """Why a name cannot be part of an utterance id; "" when it can."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "its name is not UTF-8; rename it"
    if name.split() != [name]:
        return "its name holds white space; rename it"
    if not name.isprintable():
        return "its name holds a control character; rename it"
    if len(name.encode()) > MAX_NAME:
        return f"its name is longer than {MAX_NAME} bytes; rename it"
    return ""


def only_one(paths: list[Path]) -> tuple[Path | None, str]:
    """The one path of a list, None for an empty list, and what is wrong when there are more."""
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        return paths[0], f"{printable(paths[0].parent)} has both {printable(names)}; remove one"
    return (paths[0] if paths else None), ""


def read_text(path: Path, max_bytes: int = MAX_TEXT) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises ValueError, in words, for anything else: no file, too large, binary, another encoding.
    """
    if fault := fault_of_file(path):
        raise ValueError(fault)
    try:
        size = os.path.getsize(path)
        if size > max_bytes:
            raise ValueError(f"{printable(path)} is no text of a clip: it has {size:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{printable(path)} cannot be read: {reason_of(error)}") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{printable(path)} is UTF-16; save it as UTF-8")
    if 0 in data:
        raise ValueError(f"{printable(path)} holds binary data, not text")
    return files.decode(data, printable(path))


def make_id(name: str) -> str:
    """A name as part of an id in skipped.txt, whatever it holds: `my clip` is `my%20clip`."""
    return "".join(map(_escaped, name))


def _escaped(character: str) -> str:
    if character.isprintable() and not character.isspace() and character not in "/%":
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def printable(value: str | Path) -> str:
    r"""A name or path that can be written anywhere: what is not printable becomes `\xe9`."""
    return "".join(
        c if c.isprintable() else ascii(c)[1:-1].replace("\\udc", "\\x") for c in str(value)
    )


def reason_of(error: OSError) -> str:
    """What the system says, in words: `permission denied`."""
    words = error.strerror or type(error).__name__
    return words[:1].lower() + words[1:]

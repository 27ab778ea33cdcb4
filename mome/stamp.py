"""A second run redoes nothing: a folder remembers what it was made from.

A command writes its stamp last, so a folder with a stamp is whole; a run that was killed leaves
none. The stamp holds the options and digests of the inputs, readable by people, in `.stamp.json`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

NAME = ".stamp.json"
WHOLE = 1 << 20  # bytes up to which a file is digested whole; above, by its size and time


def digest(path: str | Path) -> str:
    """A short text that changes when the file does (or "missing").

    Small files (tables, configurations) by content, so that a copy counts as the same; large ones
    (media, weights) by size and time of change. A folder by the names and digests in it.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != NAME)
        lines = [f"{p.relative_to(path)} {digest(p)}" for p in files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    if not path.exists():
        return "missing"
    info = path.stat()
    if info.st_size > WHOLE:
        return f"{info.st_size} bytes {info.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def fresh(out_dir: str | Path, inputs: dict[str, Any]) -> bool:
    """Whether `out_dir` was made, whole, from exactly these inputs."""
    path = Path(out_dir) / NAME
    if not path.exists():
        return False
    return json.loads(path.read_text()) == json.loads(json.dumps(inputs, default=str))


def changed(out_dir: str | Path, inputs: dict[str, Any]) -> list[str]:
    """Names of the inputs that differ from the stamp; all of them when there is no stamp."""
    path = Path(out_dir) / NAME
    old = json.loads(path.read_text()) if path.exists() else {}
    new = json.loads(json.dumps(inputs, default=str))
    return sorted(k for k in new.keys() | old.keys() if new.get(k) != old.get(k))


def clear(out_dir: str | Path) -> None:
    """Forget the stamp: call it before changing anything in the folder."""
    (Path(out_dir) / NAME).unlink(missing_ok=True)


def write(out_dir: str | Path, inputs: dict[str, Any]) -> None:
    """Remember that `out_dir` is now made from these inputs."""
    path = Path(out_dir) / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(inputs, indent=1, sort_keys=True, default=str) + "\n")
    beside.replace(path)

"""How work is kept: files are written whole, and folders remember what they were made from.

A stamp, `.stamp.json`, lists the options and the digests of the inputs of a folder. A command
writes it last, so a folder with a stamp is whole, and a second run redoes nothing.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

STAMP = ".stamp.json"
DIGEST_WHOLE = 1 << 20  # bytes; a larger file is digested by its size and time of change


# ---- files --------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to `path` when the block ends.

    When the block raises, the temporary file is removed and `path` stays as it was. Folders above
    it are made. The temporary name ends with `.tmp`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp_path = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield tmp_path
        os.replace(tmp_path, path)
    except OSError as error:
        if error.strerror and error.filename is None:  # as that of a full disk
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        tmp_path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_write(path) as tmp_path:
        tmp_path.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, indent: int | None = 1) -> None:
    """Write JSON, keys sorted, whole or not at all; paths become text."""
    write_text(path, json.dumps(value, indent=indent, sort_keys=True, default=str) + "\n")


def decode(data: bytes, path: str | Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises ValueError with the file, the line and the first byte that is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x}"
        raise ValueError(f"{path}, line {line}: {byte} is not UTF-8; save it as UTF-8") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """The values by name in a JSON file; ValueError, in one line, for a file of another form."""
    try:
        found = json.loads(decode(path.read_bytes(), path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: this is not JSON: {error.msg}") from None
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise ValueError(f"{path} must hold values by name, such as {{}}, and holds a {kind}")
    return found


MOST_ALIASES = 20  # in a YAML file; hundreds of them can stand for billions of values
MOST_BYTES = 1 << 20  # of a YAML file


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file; ValueError, in one line, when it holds anything but sections."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes: that is no configuration")
    text = decode(path.read_bytes(), path)
    if text.count("*") > MOST_ALIASES:
        tokens = parse_yaml(str(path), lambda: list(yaml.scan(text)))
        if sum(isinstance(token, yaml.AliasToken) for token in tokens) > MOST_ALIASES:
            raise ValueError(f"{path} has more than {MOST_ALIASES} aliases (*name): write them out")
    root = parse_yaml(str(path), yaml.compose, text)
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path}: the file must hold sections, such as train")
    return text


def parse_yaml(where: str, parse: Callable, *args: Any) -> Any:
    """Call a parser of YAML; ValueError in one line when the text is not YAML."""
    try:
        return parse(*args)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", "unreadable"))
        where += f", line {mark.line + 1}" if mark and not where.startswith("command line") else ""
        tab = " (indent with spaces, not tabs)" if "\\t" in problem else ""
        raise ValueError(f"{where}: this is not YAML: {' '.join(problem.split())}{tab}") from None
    except ValueError as error:  # OmegaConf's, of several lines
        raise ValueError(f"{where}: {str(error).splitlines()[0]}") from None


def yaml_place(where: str | Path, name: str) -> str:
    """Where a setting `section.key` was given: `where`, and the line in it when it is a file."""
    line = ""
    node = yaml.compose(where.read_text(encoding="utf-8")) if isinstance(where, Path) else None
    for part in name.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        for key, value in pairs:
            if key.value == part:
                line, node = f", line {key.start_mark.line + 1}", value
    return f"{where}{line}"


# ---- stamps -------------------------------------------------------------------------------------


def digest(path: str | Path) -> str:
    """A short text that changes when the file does, or "missing".

    Small files (tables, configurations) count by content, so that a copy is the same; large ones
    (media, weights) by size and time of change; a folder by the names and digests in it.
    """
    path = Path(path)
    if path.is_dir():
        names = sorted(p for p in path.rglob("*") if p.is_file())
        kept = [p for p in names if p.name != STAMP and p.suffix != ".tmp"]
        lines = [f"{p.relative_to(path)} {digest(p)}" for p in kept]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    if not path.exists():
        return "missing"
    info = path.stat()
    if info.st_size > DIGEST_WHOLE:
        return f"{info.st_size} bytes {info.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def up_to_date(out_dir: str | Path, inputs: dict[str, Any]) -> bool:
    """Whether `out_dir` was made, whole, from exactly these inputs."""
    return read_stamp(out_dir) == _as_json(inputs)


def changed_inputs(out_dir: str | Path, inputs: dict[str, Any]) -> list[str]:
    """Names of the inputs that differ from the stamp; all of them when there is no stamp."""
    old, new = read_stamp(out_dir) or {}, _as_json(inputs)
    return sorted(k for k in new.keys() | old.keys() if new.get(k) != old.get(k))


def read_stamp(out_dir: str | Path) -> dict | None:
    """The stamp of a folder; None when there is none or it is damaged, so that all is made anew."""
    try:
        found = json.loads((Path(out_dir) / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def clear_stamp(out_dir: str | Path) -> None:
    """Remove the stamp: call this before changing anything in the folder."""
    (Path(out_dir) / STAMP).unlink(missing_ok=True)


def write_stamp(out_dir: str | Path, inputs: dict[str, Any]) -> None:
    """Record that `out_dir` is now made from these inputs."""
    write_json(Path(out_dir) / STAMP, inputs)


def _as_json(inputs: dict[str, Any]) -> dict:
    """The inputs as they are after being written and read."""
    return json.loads(json.dumps(inputs, default=str))

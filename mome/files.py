"""How work is kept: files are written whole, folders remember their inputs, clip jobs resume.

* `atomic_write`: a file has its name only once it is whole.
* A stamp, `.stamp.json`, lists the options and digests of the inputs that a folder was made from. A
  command writes it last, so a folder with a stamp is whole, and a second run redoes nothing.
* `run_clip_jobs` does work on many clips in several processes and records each clip that is done,
  one JSON line `[utterance, mark, result]`. A run that was killed goes on after the last line.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import repeat
from pathlib import Path
from typing import Any

from tqdm import tqdm

STAMP = ".stamp.json"
DIGEST_WHOLE = 1 << 20  # bytes; a larger file is digested by its size and time of change
CHUNK = 4  # clips handed to a process at once
SKIPPED = "skipped"  # key of a result: the reason why the clip was left out


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
    finally:
        tmp_path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_write(path) as tmp_path:
        tmp_path.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, indent: int | None = 1) -> None:
    """Write JSON, keys sorted, whole or not at all; paths become text."""
    write_text(path, json.dumps(value, indent=indent, sort_keys=True, default=str) + "\n")


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
    path = Path(out_dir) / STAMP
    return path.exists() and json.loads(path.read_text()) == _as_json(inputs)


def changed_inputs(out_dir: str | Path, inputs: dict[str, Any]) -> list[str]:
    """Names of the inputs that differ from the stamp; all of them when there is no stamp."""
    path = Path(out_dir) / STAMP
    old, new = json.loads(path.read_text()) if path.exists() else {}, _as_json(inputs)
    return sorted(k for k in new.keys() | old.keys() if new.get(k) != old.get(k))


def clear_stamp(out_dir: str | Path) -> None:
    """Remove the stamp: call this before changing anything in the folder."""
    (Path(out_dir) / STAMP).unlink(missing_ok=True)


def write_stamp(out_dir: str | Path, inputs: dict[str, Any]) -> None:
    """Record that `out_dir` is now made from these inputs."""
    write_json(Path(out_dir) / STAMP, inputs)


def _as_json(inputs: dict[str, Any]) -> dict:
    """The inputs as they are after being written and read."""
    return json.loads(json.dumps(inputs, default=str))


# ---- jobs on clips ------------------------------------------------------------------------------


def clip_mark(path: str | Path, *options: object) -> str:
    """A text that changes when a clip's file or an option does: size, time of change, options."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return "missing"
    return " ".join(map(str, (info.st_size, info.st_mtime_ns, *options)))


def run_clip_jobs(
    work: Callable[..., dict],
    jobs: dict[str, tuple],
    marks: dict[str, str],
    outputs: dict[str, Path],
    record_path: Path,
    num_jobs: int = 1,
    name: str = "",
    start: Callable[[], None] | None = None,
) -> tuple[dict[str, dict], int]:
    """Call `work(*jobs[utterance])` for each utterance that is not done.

    Returns the result of every utterance, in the order of `jobs`, and how many of them are new.
    Results that the jobs of a cluster recorded, in `<stem>.<i>of<n>.jsonl`, count as done too.

    Args:
        work: writes the clip's output and returns what to remember, a dict that JSON can hold. When
            it raises ValueError or FileNotFoundError, the clip cannot be used, and the result is
            {"skipped": the error's text}. Any other error ends the run.
        marks: of each utterance; a clip whose mark has changed is done again.
        outputs: the file that a clip has when it is done and not skipped.
        record_path: the record of clips that are done, a file of JSON lines.
        num_jobs: processes.
        name: what the progress bar is called.
        start: called once in each process other than this one.

    Raises ValueError when a process dies (out of memory, a crash of a decoder).
    """
    results = _done_before(jobs, marks, outputs, record_path)
    missing = [utterance for utterance in jobs if utterance not in results]
    found = _perform(work, [jobs[u] for u in missing], num_jobs, start)
    num_skipped = len(skipped(results))
    bar = tqdm(total=len(jobs), initial=len(results), desc=name, unit="clip", disable=not missing)
    bar.mininterval = 0.1 if sys.stderr.isatty() else 10  # in a log file, a line now and then
    record_path.parent.mkdir(parents=True, exist_ok=True)
    with record_path.open("a", encoding="utf-8") as record, bar:
        record.write("\n" if missing else "")  # ends a line that a kill cut short
        for utterance in missing:
            try:
                results[utterance] = next(found)
            except BrokenProcessPool:
                raise ValueError(
                    f"a process died at {utterance} or one of the {num_jobs * CHUNK} clips after"
                    " it: out of memory, or a crash of a decoder; run again with --num_jobs 1 to"
                    " see where"
                ) from None
            record.write(json.dumps([utterance, marks[utterance], results[utterance]]) + "\n")
            record.flush()
            if SKIPPED in results[utterance]:  # many of them should be seen before the end
                num_skipped += 1
                bar.set_postfix_str(f"{num_skipped} left out", refresh=False)
            bar.update()
    return {u: results[u] for u in jobs}, len(missing)


def skipped(results: dict[str, dict]) -> dict[str, str]:
    """The reason by utterance, of those that were left out."""
    return {u: r[SKIPPED] for u, r in results.items() if SKIPPED in r}


def _done_before(
    jobs: dict[str, tuple], marks: dict[str, str], outputs: dict[str, Path], record_path: Path
) -> dict[str, dict]:
    """The results that are recorded and still hold."""
    results = {}
    others = sorted(record_path.parent.glob(f"{record_path.stem}.*of*.jsonl"))
    for path in [record_path, *others]:
        done = _read_record(path)
        for utterance in jobs:
            old_mark, result = done.get(utterance, (None, {}))
            if old_mark == marks[utterance] and (SKIPPED in result or outputs[utterance].exists()):
                results[utterance] = result
    return results


def _read_record(path: Path) -> dict[str, tuple[str, dict]]:
    """Mark and result of each clip, from its latest line; a line that was cut short is ignored."""
    done = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            utterance, mark, result = json.loads(line)
        except ValueError:
            continue
        done[utterance] = (mark, result)
    return done


def _perform(work: Callable, jobs: list[tuple], num_jobs: int, start) -> Iterator[dict]:
    """The result of each job, in order; in this process when one is enough."""
    if num_jobs < 1:
        raise ValueError(f"the number of jobs must be at least 1, got {num_jobs}")
    if min(num_jobs, len(jobs)) <= 1:
        yield from map(_attempt, repeat(work), jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_jobs, mp_context=spawn, initializer=start) as pool:
        yield from pool.map(_attempt, repeat(work), jobs, chunksize=CHUNK)


def _attempt(work: Callable[..., dict], job: tuple) -> dict:
    """The result of one job, {"skipped": reason} when the clip cannot be used."""
    try:
        return work(*job)
    except (ValueError, FileNotFoundError) as error:
        return {SKIPPED: str(error)}

"""Work on many clips, in several processes, that resumes after the last clip that was done.

Each clip that is done is recorded as one JSON line, `[utterance, mark, result]`. A mark is a text
that changes when the clip or an option does.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import repeat
from pathlib import Path

from mome.data import frame_range
from mome.data.progress import Progress

CHUNK = 4  # clips handed to a process at once
SKIPPED = "skipped"  # key of a result: the reason why the clip was left out


def mark(entry: str | Path, *options: object) -> str:
    """The mark of a clip: size and time of change of its file, the options, the piece if it is one.

    `entry` is a file or a piece of one, as in video.scp.
    """
    path, frames = frame_range.split(entry)
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return "missing"
    except OSError as error:  # it cannot be read, which the work on it says in words
        return f"unreadable: {error.strerror}"
    return " ".join(map(str, (info.st_size, info.st_mtime_ns, *options, *(frames or ()))))


def run(
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
        name: of the job, for the lines that show its progress.
        start: called once in each process other than this one.

    Raises ValueError when a process dies (out of memory, a crash of a decoder).
    """
    results = _done_before(jobs, marks, outputs, record_path)
    missing = [utterance for utterance in jobs if utterance not in results]
    found = _perform(work, [jobs[u] for u in missing], num_jobs, start)
    num_skipped = len(skipped(results))
    record_path.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress(name, len(jobs), done=len(results))
    with record_path.open("a", encoding="utf-8") as record, progress:
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
                progress.set_note(f"{num_skipped} left out")
            progress.update()
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

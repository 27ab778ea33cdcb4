"""Work on many clips in several processes, resumable at the clip.

A ledger is a file with a line for each clip that is done, `[utterance, mark, result]` in JSON,
written as results come in. A mark is a text that changes when the clip or an option does. A run
that was killed goes on after its last line; a clip whose mark has changed is done again.
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import repeat
from pathlib import Path

from tqdm import tqdm

from mome import span

CHUNK = 4  # clips handed to a process at once
SKIPPED = "skipped"  # key of a result: the reason why the clip was left out


def mark(path: str | Path, *options: object) -> str:
    """The mark of a clip: size and time of change of its file, its piece, and the options."""
    file, frames = span.split(path)
    try:
        info = os.stat(file)
    except FileNotFoundError:
        return "missing"
    options = options if frames is None else (*options, *frames)
    return " ".join(map(str, (info.st_size, info.st_mtime_ns, *options)))


def run(
    work: Callable[..., dict],
    jobs: dict[str, tuple],
    marks: dict[str, str],
    outputs: dict[str, Path],
    ledger_path: Path,
    num_jobs: int = 1,
    name: str = "",
    start: Callable[[], None] | None = None,
) -> tuple[dict[str, dict], int]:
    """Call `work(*jobs[utterance])` for each utterance that is not done; results, and how many.

    What jobs of a cluster wrote, `<stem>.<i>of<n>.jsonl` beside the ledger, counts as done, too.

    Args:
        work: writes the clip's output and returns what to remember, a dict that JSON can hold. A
            ValueError or FileNotFoundError of it means: this clip cannot be used; the result is
            then {"skipped": its text}. Any other error ends the run.
        outputs: the file that a clip has when it is done and not skipped.
        start: called once in each process other than this one.

    Raises ValueError when a process dies (memory, a crash of a decoder).
    """
    results = {}
    for path in [ledger_path, *sorted(ledger_path.parent.glob(f"{ledger_path.stem}.*of*.jsonl"))]:
        done = read(path)
        for utterance in jobs:
            old_mark, result = done.get(utterance, (None, {}))
            if old_mark == marks[utterance] and (SKIPPED in result or outputs[utterance].exists()):
                results[utterance] = result
    todo = [utterance for utterance in jobs if utterance not in results]
    ledger_path.parent.mkdir(parents=True, exist_ok=True)
    with ledger_path.open("a", encoding="utf-8") as ledger:
        ledger.write("\n" if todo else "")  # ends a line that a kill cut short
        new = perform(work, [jobs[u] for u in todo], num_jobs, start)
        there, num_skipped = len(results), len(skipped(results))
        bar = tqdm(total=len(jobs), initial=there, desc=name, unit="clip", disable=not todo)
        bar.mininterval = 0.1 if sys.stderr.isatty() else 10  # in a log file, a line now and then
        try:
            for utterance, result in zip(todo, new, strict=True):
                results[utterance] = result
                ledger.write(json.dumps([utterance, marks[utterance], result]) + "\n")
                ledger.flush()
                if SKIPPED in result:  # that they are many is better seen now than at the end
                    num_skipped += 1
                    bar.set_postfix_str(f"{num_skipped} left out", refresh=False)
                bar.update()
        except BrokenProcessPool:
            waiting = [u for u in todo if u not in results]
            raise ValueError(
                f"a process died at {waiting[0]} or one of the {num_jobs * CHUNK} clips after it:"
                " out of memory, or a crash of a decoder; run again with --num_jobs 1 to see where"
            ) from None
        finally:
            bar.close()
    return {u: results[u] for u in jobs}, len(todo)


def perform(work: Callable, jobs: list[tuple], num_jobs: int, start) -> Iterator[dict]:
    """The result of each job, in order; in this process when one is enough."""
    if num_jobs < 1:
        raise ValueError(f"the number of jobs must be at least 1, got {num_jobs}")
    if min(num_jobs, len(jobs)) <= 1:
        yield from map(attempt, repeat(work), jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_jobs, mp_context=spawn, initializer=start) as pool:
        yield from pool.map(attempt, repeat(work), jobs, chunksize=CHUNK)


def attempt(work: Callable[..., dict], job: tuple) -> dict:
    """The result of one job, {"skipped": reason} when the clip cannot be used."""
    try:
        return work(*job)
    except (ValueError, FileNotFoundError) as error:
        return {SKIPPED: str(error)}


def read(ledger_path: Path) -> dict[str, tuple[str, dict]]:
    """Mark and result of each clip, the latest line of each; a last line cut short is passed by."""
    done = {}
    for line in (
        ledger_path.read_text(encoding="utf-8").splitlines() if ledger_path.exists() else []
    ):
        try:
            utterance, old_mark, result = json.loads(line)
        except ValueError:
            continue
        done[utterance] = (old_mark, result)
    return done


def skipped(results: dict[str, dict]) -> dict[str, str]:
    """The reason by utterance, of those that were left out."""
    return {u: r[SKIPPED] for u, r in results.items() if SKIPPED in r}

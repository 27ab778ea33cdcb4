"""Options and processes of the commands that work on many clips in parallel jobs."""

import argparse
import subprocess
import sys

from mome.bin import Parser


def add_skip_options(parser: Parser, max_skipped: float) -> None:
    """Add --max_skipped, with this default, and --max_skipped_test."""
    parser.add_argument(
        "--max_skipped",
        type=share_of,
        default=max_skipped,
        help="share of the clips of a set that may be left out; more is an error",
    )
    parser.add_argument(
        "--max_skipped_test", type=share_of, default=0.0, help="the same for a test set"
    )


def share_of(text: str) -> float:
    """An option that is a share, from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share between 0 and 1")
    return share


def job_of(text: str) -> tuple[int, int]:
    """An option `i/n`, one of n jobs."""
    index, _, total = text.partition("/")
    if not (index.isdigit() and total.isdigit() and 1 <= int(index) <= int(total)):
        raise argparse.ArgumentTypeError(f"'{text}' is not i/n with 1 <= i <= n")
    return int(index), int(total)


def start_jobs(verb: str, argv: list[str] | None, total: int, what: str) -> None:
    """Run a command in `total` processes at once, with `--job 1/total` to `--job total/total`.

    `argv` is the argument of the command's `main`. Raises ValueError, which names `what` the jobs
    were for, when one fails.
    """
    command = [sys.executable, "-m", f"mome.bin.{verb}", *(sys.argv[1:] if argv is None else argv)]
    jobs = [subprocess.Popen([*command, "--job", f"{i + 1}/{total}"]) for i in range(total)]
    try:
        failed = [i + 1 for i, process in enumerate(jobs) if process.wait()]
    finally:
        for process in jobs:
            process.terminate()
    if failed:
        raise ValueError(f"job {failed[0]}/{total} for {what} failed: its error is above")


def device_of(job: tuple[int, int] | None) -> str:
    """A GPU when there is one; jobs of one machine take its GPUs in turn."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{(job[0] - 1) % torch.cuda.device_count()}" if job else "cuda"

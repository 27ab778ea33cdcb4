"""Processes that are forked beside the threads of torch.distributed, and surely start.

A thread of torch.distributed that releases a tensor takes a lock of the interpreter for an instant.
In a process that is forked at this instant nobody ever releases the lock, and it waits before its
first line of Python (seen with Python 3.11 and gloo, once in a few thousand forks). So here a new
process says that it has started. One that does not is killed, and forked again.
"""

import logging
import multiprocessing
import os
from multiprocessing import connection, context, popen_fork
from typing import Any

log = logging.getLogger(__name__)

SECONDS_TO_START = 30.0  # on a busy machine, too; as a rule it takes milliseconds
MOST_FORKS = 3  # of one process


class Process(context.ForkProcess):
    """A forked process, whose function calls `has_started`."""

    writer: int  # its end of a pipe

    @staticmethod
    def _Popen(process_obj: Any) -> popen_fork.Popen:
        for _ in range(MOST_FORKS):
            reader, process_obj.writer = os.pipe()
            child = popen_fork.Popen(process_obj)
            os.close(process_obj.writer)
            # The pipe has a byte when the child has started, and its end when something killed it.
            answered = connection.wait([reader], SECONDS_TO_START)
            os.close(reader)
            if answered:
                return child
            log.warning(
                f"a forked process did not start within {SECONDS_TO_START:g} s: killed, forked anew"
            )
            child.kill()
            child.wait()
            child.close()
        raise OSError(
            f"{MOST_FORKS} forked processes did not start within {SECONDS_TO_START:g} s each: is"
            " this machine overloaded? train.data_workers=0 reads without such processes"
        )


class Context(context.ForkContext):
    """As the context "fork" of multiprocessing, with processes that surely start."""

    Process = Process


def has_started() -> None:
    """Tell the parent that this process runs."""
    process = multiprocessing.current_process()
    assert isinstance(process, Process)
    os.write(process.writer, b"\n")
    os.close(process.writer)

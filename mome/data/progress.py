"""How far a long job is: a bar on a terminal, and lines in a log file."""

import logging
import sys
import time

from tqdm import tqdm

EVERY_S = 20  # seconds between two lines in a log file
log = logging.getLogger(__name__)


class Progress:
    """Counts what is done, and shows it with the time left. Use it in a `with` block.

    When stderr is a terminal there is a bar. A bar would fill a log file with carriage returns, so
    there, a line is logged every `EVERY_S` seconds instead.

    Args:
        name: of the job, such as "mouths train".
        total: how many there are to do.
        unit: what is counted, in the singular.
        done: how many of them were done before this run.
        position: line of the terminal, counted from 0, for jobs that run at the same time.
    """

    def __init__(self, name: str, total: int, unit: str = "clip", done: int = 0, position: int = 0):
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self.first, self.note = done, ""
        self.start_time = self.last_time = time.monotonic()
        shown = sys.stderr.isatty() and total > done
        self.bar = tqdm(
            total=total, initial=done, desc=name, unit=unit, position=position, leave=False,
            disable=not shown,
        )  # fmt: skip

    def update(self, count: int = 1) -> None:
        """Count `count` more as done."""
        self.done += count
        self.bar.update(count)
        now = time.monotonic()
        if self.bar.disable and now - self.last_time >= EVERY_S:
            self.last_time = now
            seconds = (now - self.start_time) / (self.done - self.first) * (self.total - self.done)
            left = f"{tqdm.format_interval(seconds)} left{self.note}"
            log.info(f"{self.name}: {self.done} of {self.total} {self.unit}s, {left}")

    def set_note(self, text: str) -> None:
        """Show a text after the counts from now on."""
        self.note = f", {text}" if text else ""
        self.bar.set_postfix_str(text, refresh=False)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

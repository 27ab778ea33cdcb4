"""Progress: lines without carriage returns in a log file, a bar on a terminal."""

import fcntl
import logging
import os
import pty
import struct
import subprocess
import sys
import termios

from mome.data import progress

SCRIPT = """
import time
from mome.data.progress import Progress
with Progress("count", 3, "step") as bar:
    for _ in range(3):
        time.sleep(0.15)
        bar.update()
"""


def test_lines_in_a_log_file(monkeypatch, caplog):
    now = iter([0.0, 10.0, 20.0, 25.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with caplog.at_level(logging.INFO), progress.Progress("mouths", 10, done=2) as bar:
        bar.update()
        bar.set_note("1 left out")
        bar.update(3)
        bar.update()
        bar.update()
    assert caplog.messages == [
        "mouths: 6 of 10 clips, 00:20 left, 1 left out",
        "mouths: 8 of 10 clips, 00:13 left, 1 left out",
    ]


def test_a_bar_on_a_terminal_only():
    command = [sys.executable, "-c", SCRIPT]
    quiet = subprocess.run(command, capture_output=True, check=True)
    assert quiet.stderr == b"" and quiet.stdout == b""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    subprocess.run(command, stderr=terminal, check=True, timeout=60)
    os.set_blocking(reader, False)
    assert b"3/3" in os.read(reader, 10000)
    os.close(terminal)
    os.close(reader)

"""Training and decoding on a device that is not the CPU; see other_device.py."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_step_and_a_text_are_the_same_on_another_device_and_mix_none():
    folder = Path(__file__).parent
    path = f"{folder}:{folder.parent}"
    done = subprocess.run(
        [sys.executable, folder / "other_device.py"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "the same on both devices" in done.stdout

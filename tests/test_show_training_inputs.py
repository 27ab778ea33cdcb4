"""The picture of what a training step reads, and the step with encoders of the true shapes."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from conftest import CLIPS

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "egs/lrs3/avsr1/conf/train_mome_layer.yaml"


def show(clips_dir: Path, *more: str) -> tuple[str, Path]:
    out = clips_dir / "step.png"
    command = [sys.executable, ROOT / "tools/show_training_inputs.py", "--config", CONFIG]
    command += ["--data", clips_dir / "data/train", "--mouths", clips_dir / "mouths"]
    command += ["--out", out, "--clips", "2", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, out


def test_it_draws_the_clips_of_a_step_and_says_what_was_drawn_for_them(clips_dir):
    printed, out = show(clips_dir)
    assert "10 epochs are 10 steps; the first ends with step 1" in printed
    clips = re.findall(
        r"^(\w+-\d+): (?:clean|in noise at -?\d+ dB), masked ", printed, re.MULTILINE
    )
    assert len(clips) == 2 and set(clips) < CLIPS.keys()
    height, width, _ = cv2.imread(str(out)).shape
    assert width > 1000 and height > 600


@pytest.mark.slow
def test_the_step_is_taken_with_encoders_of_the_true_shapes(clips_dir):
    printed, _ = show(clips_dir, "--take_step")
    assert re.search(r"audio: frames \(2, \d+, 768\)", printed)
    assert re.search(r"video: frames \(2, \d+, 1024\)", printed)
    before, after = map(
        float, re.search(r"loss ([\d.]+) before .* ([\d.]+) after", printed).groups()
    )
    assert after < before
    assert re.findall(r"loss_(\w+) ", printed) == ["a4_v2", "a4_v5", "a16_v2", "a16_v5"]

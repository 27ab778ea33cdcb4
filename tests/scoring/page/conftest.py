"""An experiment with all that the page shows, and one that has scores alone."""

import json

import numpy as np
import pytest
from page_experiments import scored

from mome.data import SAMPLE_RATE, audio, crops
from mome.scoring.page.reading import read
from mome.scoring.page.scored import Scored


@pytest.fixture
def bare(tmp_path) -> Scored:
    """Scores and nothing else."""
    return scored(tmp_path, "bare")


@pytest.fixture
def full(tmp_path) -> Scored:
    """Scores, training, a config, sounds and mouth crops of one utterance."""
    exp = scored(tmp_path, "full")
    metrics = [{"step": k, "loss": 3.0 / k, "llm_tokens": 10, "text_tokens": 2} for k in (1, 2, 3)]
    metrics += [{"step": 3, "valid_loss_a4_v2": 1.5}, {"step": 2, "valid_loss_a4_v2": 1.25}]
    lines = [json.dumps(line) + "\n" for line in metrics]
    (exp.exp_dir / "metrics.jsonl").write_text("".join(lines))
    (exp.exp_dir / "stages.tsv").write_text("3\t60\t./run.sh --tag '<b>'\tab12\n")
    (exp.exp_dir / "config.yaml").write_text("model: {llm: baby, adapter: mome, position: layer}\n")
    (exp.exp_dir / "size.json").write_text('{"active": 5000000}')
    data = exp.data_dir / "test_babble_-5"
    data.mkdir()
    samples = np.sin(np.arange(SAMPLE_RATE // 2) / 9).astype(np.float32) / 2
    audio.write(tmp_path / "a.wav", samples)
    (data / "wav.scp").write_text(f"s1-a {tmp_path / 'a.wav'}\n")
    crops.write(tmp_path / "a.mouth", np.zeros((12, 96, 96), np.uint8))
    (exp.mouths_dir / "test").mkdir(parents=True)
    (exp.mouths_dir / "test/mouths.scp").write_text(f"s1-a {tmp_path / 'a.mouth'}\n")
    return read(exp.exp_dir, exp.data_dir, exp.mouths_dir)

"""Shared by the tests of the report page: experiments whose texts would be HTML."""

import json

import numpy as np
from conftest import REFERENCES, decoded_experiment

from mome.data import SAMPLE_RATE, audio, crops
from mome.scoring import sets
from mome.scoring.page.reading import read
from mome.scoring.page.scored import Scored

ATTACK = "<script>window.attacked=true</script>"
HYPS = {
    ("a4_v2", "test"): REFERENCES | {"s1-a": f"the {ATTACK} sat down"},
    ("a16_v5", "test"): REFERENCES | {"s1-a": "the dog", "s1-b": "on mat"},
    ("a4_v2", "test_babble_-5"): dict.fromkeys(REFERENCES, "never so"),
    ("a16_v5", "test_babble_-5"): dict.fromkeys(REFERENCES, ""),
    ("a4_v2", "test_babble_-5_zeroed_video"): dict.fromkeys(REFERENCES, ""),
}


def scored(root, tag: str, hyps: dict = HYPS) -> Scored:
    exp_dir = decoded_experiment(root, tag, hyps)
    sets.score_experiment(exp_dir, root / "data", "")
    return read(exp_dir, root / "data", root / "mouths")


def full_experiment(root) -> Scored:
    """Scores, training, a config, sounds and mouth crops of one utterance."""
    exp = scored(root, "full")
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
    audio.write(root / "a.wav", samples)
    (data / "wav.scp").write_text(f"s1-a {root / 'a.wav'}\n")
    crops.write(root / "a.mouth", np.zeros((12, 96, 96), np.uint8))
    (exp.mouths_dir / "test").mkdir(parents=True)
    (exp.mouths_dir / "test/mouths.scp").write_text(f"s1-a {root / 'a.mouth'}\n")
    return read(exp.exp_dir, exp.data_dir, exp.mouths_dir)

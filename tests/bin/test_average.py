"""The average of checkpoints: the mean of the newest, as a model folder that can be loaded."""

import pytest
import torch
from conftest import baby_model

from mome import checkpoint, config, decoding
from mome.bin import average
from mome.config import Config


def experiment(tmp_path, steps) -> dict[int, dict[str, torch.Tensor]]:
    """An experiment whose checkpoints hold the weights that are returned."""
    model = baby_model()
    base = {"llm": "baby", "llm_fingerprint": checkpoint.fingerprint(model.llm)}
    config.save(Config(), tmp_path / "config.yaml")
    weights = {}
    for step in steps:
        weights[step] = {k: torch.randn_like(v) for k, v in model.trained().items()}
        checkpoint.save(tmp_path / f"checkpoints/step_{step}", weights[step], Config(), base)
    return weights


def test_it_is_the_mean_of_the_newest_checkpoints_and_loads(tmp_path):
    weights = experiment(tmp_path, [80, 90, 100, 1000])
    average.main([str(tmp_path), "--last", "3"])
    found, model = checkpoint.read(tmp_path / "average"), baby_model()
    for name, value in found.items():
        expected = torch.stack([weights[step][name] for step in (90, 100, 1000)]).mean(dim=0)
        torch.testing.assert_close(value, expected)
    assert found.keys() == model.trained().keys()
    decoding.load_into(model, tmp_path / "average")
    assert all(torch.equal(model.trained()[name], value) for name, value in found.items())


def test_a_second_run_does_nothing_until_there_is_another_checkpoint(tmp_path, caplog):
    caplog.set_level("INFO")
    experiment(tmp_path, [1, 2])
    average.main([str(tmp_path)])
    assert "holds 2 checkpoints, fewer than --last 5" in caplog.text
    path = tmp_path / "average" / checkpoint.FILE
    before = path.stat().st_mtime_ns
    average.main([str(tmp_path)])
    assert path.stat().st_mtime_ns == before and "is up to date" in caplog.text
    experiment(tmp_path, [3])
    average.main([str(tmp_path)])
    assert path.stat().st_mtime_ns > before


def test_without_checkpoints_it_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint: run stage 3"):
        average.main([str(tmp_path)])
    with pytest.raises(SystemExit):
        average.main([str(tmp_path), "--last", "0"])

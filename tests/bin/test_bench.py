"""`mome bench`: a configuration with random weights, an experiment, counting alone."""

import json
import os
from pathlib import Path

import pytest
import torch
from conftest import baby_recipe

from mome import checkpoint, config
from mome.bin import bench
from mome.model import MoMEModel, load_llm

PAPER = Path(__file__).parents[2] / "egs/lrs3/avsr1/conf/train_mome_layer.yaml"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A folder with baby models, a config, and a model in exp/fresh that nobody has trained."""
    root = baby_recipe(tmp_path_factory.mktemp("recipe"))
    encoders = "encoders: {audio: baby/baby-whisper, video: baby/baby-avhubert}\n"
    (root / "train.yaml").write_text(encoders + (root / "train.yaml").read_text())
    here = Path.cwd()
    os.chdir(root)
    try:
        cfg = config.load("train.yaml", [])
        llm, tokenizer = load_llm(cfg.model, "cpu")
        torch.manual_seed(0)
        dims = {"audio": 64, "video": 32}
        model = MoMEModel(cfg.model, llm, tokenizer, dims)
        base = {"llm_fingerprint": checkpoint.fingerprint(llm), "frame_dims": dims}
        checkpoint.save("exp/fresh/best", model.trained(), cfg, base)
        config.save(cfg, "exp/fresh/config.yaml")
    finally:
        os.chdir(here)
    return root


def bench_json(tmp_path, *argv: str) -> dict:
    path = tmp_path / "cost.json"
    bench.main([*argv, "--json", str(path)])
    return json.loads(path.read_text())


def test_a_config_and_an_experiment_are_timed(recipe, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(recipe)
    options = ["--lengths", "1", "0.7", "--seconds", "0", "--dtype", "float32", "--device", "cpu"]
    plot = ["--plot", str(tmp_path / "cost.png"), "--beam", "2", "--scales", "a4_v2", "a8_v4"]
    one = bench_json(tmp_path, "--config", "train.yaml", *options, *plot)
    assert (tmp_path / "cost.png").exists()
    two = bench_json(tmp_path, "exp/fresh", *options)
    assert [(r["clip_s"], r["scale"]) for r in one["rows"]] == [
        (0.7, "a4_v2"), (0.7, "a8_v4"), (1.0, "a4_v2"), (1.0, "a8_v4"),
    ]  # fmt: skip
    assert len(two["rows"]) == 2 * 4 and two["about"]["beams"] == 1
    for row in one["rows"] + two["rows"]:
        parts = [row["encode_s"], row["prefill_s"], row["decode_s"]]
        assert min(parts) > 0 and row["real_time_factor"] == sum(parts) / row["clip_s"]
        assert row["peak_bytes"] > 1e8
    assert one["about"]["rounds"] == two["about"]["rounds"] == 1
    tokens = {r["scale"]: r["prompt_tokens"] for r in one["rows"] + two["rows"]}
    assert tokens["a4_v2"] > tokens["a8_v4"] > tokens["a16_v5"]
    text = capsys.readouterr().out
    assert "train.yaml: 2 layers, 2 beams" in text and "exp/fresh: 2 layers, 1 beam" in text


@pytest.mark.parametrize("task, scale", [("asr", "a4"), ("vsr", "v2")])
def test_a_task_with_one_stream(recipe, monkeypatch, tmp_path, task, scale):
    monkeypatch.chdir(recipe)
    options = ["--lengths", "1", "--seconds", "0", "--scales", scale, "--device", "cpu"]
    found = bench_json(tmp_path, "--config", "train.yaml", f"model.task={task}", *options)
    assert found["rows"][0]["stream_tokens"] == 13 and found["rows"][0]["encode_s"] > 0


def test_left_out_layers_are_said_and_memory_is_not(recipe, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(recipe)
    options = ["--lengths", "1", "--seconds", "0", "--scales", "a4_v2", "--device", "cpu"]
    found = bench_json(tmp_path, "--config", "train.yaml", *options, "--layers", "1")
    whole = bench_json(tmp_path, "--config", "train.yaml", *options, "--no_timing")
    assert "MEASURED WITH 1 OF 2 LAYERS" in capsys.readouterr().out
    assert found["about"]["layers_built"] == 1 and found["rows"][0]["peak_bytes"] is None
    assert found["rows"][0]["prefill_flops"] == whole["rows"][0]["prefill_flops"]


def test_counting_alone_needs_no_weights(tmp_path, capsys):
    options = ["--scales", "a1_v1", "a16_v5", "--lengths", "23", "--no_timing"]
    found = bench_json(tmp_path, "--config", str(PAPER), "model.expert_dim=1", *options)
    fine, coarse = found["rows"]
    assert fine["stream_tokens"] == 1725 and coarse["stream_tokens"] == 72 + 115
    assert found["about"]["beams"] == 15 and "prefill_s" not in fine
    assert 8 < fine["prefill_flops"] / coarse["prefill_flops"] < 10
    assert "RTF" not in capsys.readouterr().out


def test_wrong_options_are_refused(recipe, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    for wrong, message in (
        ([], "give either exp/<tag> or --config FILE"),
        (["exp/fresh", "--config", "train.yaml"], "give either"),
        (["exp/fresh", "--layers", "1"], "--layers is for --config"),
        (["--config", "train.yaml", "--beam", "0"], "--beam must be 1 or more"),
        (["--config", "train.yaml", "--lengths", "0"], "--lengths above 0"),
    ):
        with pytest.raises(SystemExit) as error:
            bench.main(wrong)
        assert error.value.code == 2
        assert message in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"exp/none/config\.yaml is missing: run stage 3"):
        bench.main(["exp/none"])
    with pytest.raises(ValueError, match=r"--layers must be in 1\.\.2, the LLM's own; got 0"):
        bench.main(["--config", "train.yaml", "--layers", "0"])
    with pytest.raises(ValueError, match="scale a4 is not one of task avsr"):
        bench.main(["--config", "train.yaml", "--no_timing", "--scales", "a4"])

"""The folder of an experiment, and DeepSpeed's configuration."""

import errno
import json

import pytest

from mome import files
from mome.config import Config, EncodersConfig, ModelConfig, TrainConfig
from mome.training import experiment
from mome.training.experiment import (
    engine_config,
    exclusive_lock,
    leave_out_unusable,
    open_experiment,
)


def test_two_runs_cannot_write_one_folder(tmp_path):
    exp = tmp_path / "exp/x"
    error = pytest.raises(ValueError, match="is being trained by another process")
    with exclusive_lock(exp), error, exclusive_lock(exp):
        pass
    with exclusive_lock(exp):  # free again
        pass


def test_where_files_have_no_locks_it_trains_and_says_so(tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(experiment.fcntl, "flock", flock)
    with exclusive_lock(tmp_path / "x"):
        assert "cannot be locked ([Errno 38] Function not implemented)" in caplog.text


@pytest.mark.parametrize(
    "resume, steps, reason",
    [
        (True, 9, ""),
        (True, 3, "it differs in train.num_steps"),
        (False, 9, "it differs in train.num_steps"),
        (False, 4, "no --resume was given"),
    ],
)
def test_more_steps_continue_and_other_runs_are_moved(tmp_path, resume, steps, reason, caplog):
    caplog.set_level("INFO")
    exp = tmp_path / "x"
    assert open_experiment(exp, {"train.num_steps": 4}, resume=True)
    (exp / "log").write_text("first")
    assert open_experiment(exp, {"train.num_steps": steps}, resume)
    old = list(tmp_path.glob("x.*"))
    assert len(old) == bool(reason)
    assert ((old[0] if reason else exp) / "log").read_text() == "first"
    assert (f"was moved to {old[0]}: {reason}" if reason else "") in caplog.text


def test_a_finished_run_is_not_repeated_and_one_with_more_steps_is_opened_again(tmp_path, caplog):
    caplog.set_level("INFO")
    exp, inputs = tmp_path / "x", {"train.num_steps": 4, "train.lr": 0.1}
    open_experiment(exp, inputs, resume=True)
    (exp / "best").mkdir()
    files.write_stamp(exp, inputs)
    assert not open_experiment(exp, inputs, resume=True)
    assert "nothing to do" in caplog.text
    assert open_experiment(exp, inputs | {"train.num_steps": 6}, resume=True)
    assert (exp / "best").exists()
    assert not files.up_to_date(exp, inputs)  # until the longer run is finished


def test_a_setting_that_came_later_counts_as_its_default(tmp_path):
    exp = tmp_path / "x"
    open_experiment(exp, {"train.num_steps": 4}, resume=True)
    later = {"train.num_steps": 4, "model.router": "shared"}
    assert open_experiment(exp, later, resume=True)
    assert not list(tmp_path.glob("x.*"))
    open_experiment(exp, later | {"model.router": "static"}, resume=True)
    assert len(list(tmp_path.glob("x.*"))) == 1


def test_deepspeed_gets_our_settings_and_its_file_may_not_set_them(tmp_path):
    path = tmp_path / "zero.json"
    cfg = Config(train=TrainConfig(deepspeed=str(path), accumulation=3, max_grad_norm=7.0))
    with pytest.raises(FileNotFoundError, match=r"zero\.json is missing: train\.deepspeed names"):
        engine_config(cfg)
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    found = engine_config(cfg)
    assert found["zero_optimization"] == {"stage": 2} and found["bf16"] == {"enabled": True}
    assert (found["gradient_accumulation_steps"], found["gradient_clipping"]) == (3, 7.0)
    path.write_text(json.dumps({"optimizer": {}, "gradient_clipping": 1.0}))
    with pytest.raises(ValueError, match="sets gradient_clipping, optimizer, which the train"):
        engine_config(cfg)


@pytest.mark.parametrize(
    "model, encoders, message",
    [
        ({"quantise": "4bit"}, {}, r"cannot shard a quantised LLM \(model.quantise=4bit\)"),
        ({}, {"features": "online", "video_lora_rank": 4}, "cannot train the video encoder"),
    ],
)
def test_what_zero_3_cannot_shard_is_refused(tmp_path, model, encoders, message):
    path = tmp_path / "zero.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    train = TrainConfig(deepspeed=str(path))
    cfg = Config(EncodersConfig(**encoders), ModelConfig(**model), train)
    with pytest.raises(ValueError, match=f"ZeRO 3 {message}"):
        engine_config(cfg)


def test_unusable_utterances_are_listed_and_too_many_are_an_error(
    tmp_path, features, process_group, caplog
):
    caplog.set_level("INFO")
    data, path = features["train"], tmp_path / "skipped.txt"
    num, longest = len(data), max(data.length(i) for i in range(len(data)))
    cfg = Config(train=TrainConfig(max_frames=longest))
    leave_out_unusable(data, cfg, path, limit=0.0)
    assert not path.exists() and len(data) == num
    cfg = Config(train=TrainConfig(max_frames=longest - 1))
    with pytest.raises(ValueError, match=rf"of {num} utterances cannot be used, such as s\d-"):
        leave_out_unusable(data, cfg, path, limit=0.0)
    leave_out_unusable(data, cfg, path, limit=0.5)
    listed = [line.split("\t")[0] for line in path.read_text().splitlines()]
    assert listed and len(data) == num - len(listed) and not set(listed) & set(data.utterances)

"""The folder of an experiment, and DeepSpeed's configuration."""

import errno
import os
from pathlib import Path

import pytest

from mome import files
from mome.config import Config, TrainConfig
from mome.training import experiment
from mome.training.experiment import (
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


def train(exp: Path, inputs: dict, resume: bool = True) -> bool:
    """Stands for training and decoding; False when there is nothing to do."""
    if not open_experiment(exp, inputs, resume):
        return False
    (exp / "best").mkdir(exist_ok=True)
    (exp / "decode_a4").mkdir(exist_ok=True)
    (exp / "decode_a4/text").write_text(str(inputs))
    files.write_stamp(exp, inputs)
    return True


@pytest.mark.parametrize(
    "resume, steps, reason",
    [
        (True, 9, ""),
        (True, 3, "it differs in train.num_steps"),
        (False, 9, "it differs in train.num_steps"),
        (False, 4, "no --resume was given"),
    ],
)
def test_more_steps_continue_and_other_runs_are_kept(tmp_path, resume, steps, reason, caplog):
    caplog.set_level("INFO")
    exp = tmp_path / "x"
    assert open_experiment(exp, {"train.num_steps": 4}, resume=True)
    (exp / "log").write_text("first")
    assert open_experiment(exp, {"train.num_steps": steps}, resume)
    old = list(tmp_path.glob("x.*"))
    assert len(old) == bool(reason)
    assert ((old[0] if reason else exp) / "log").read_text() == "first"
    assert (f"is kept as {old[0]}: {reason}" if reason else "") in caplog.text


@pytest.mark.parametrize("epochs, kept", [(3, 0), (1, 1)])
def test_more_epochs_continue_and_fewer_are_another_run(tmp_path, epochs, kept):
    inputs = {"train.num_steps": 0, "train.num_epochs": 2}
    open_experiment(tmp_path / "x", inputs, resume=True)
    open_experiment(tmp_path / "x", inputs | {"train.num_epochs": epochs}, resume=True)
    assert len(list(tmp_path.glob("x.*"))) == kept


def test_settings_by_their_old_names_and_values_are_the_same_settings(tmp_path):
    old = {"encoders.mask_s": 0.2, "model.projector_norm": True, "model.audio_rates": [4]}
    new = {"encoders.video_mask_s": 0.2, "model.projector_norm": "both", "model.audio_rates": [4]}
    open_experiment(tmp_path / "x", old, resume=True)
    assert experiment.differences(tmp_path / "x", new) == {}


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


FIRST = {"train.num_steps": 4, "train.lr": 1e-3, "model.audio_rates": [4, 16], "train_set": "aa"}
VARIANTS = [
    FIRST,
    FIRST | {"train.lr": 5e-4},
    FIRST | {"train.lr": 5e-4, "train.num_steps": 8},  # continues the one before
    FIRST | {"train_set": "bb"},
    FIRST | {"model.audio_rates": [4]},
]


def test_every_variant_is_kept_and_returns_with_its_settings(tmp_path, caplog):
    caplog.set_level("INFO")
    exp = tmp_path / "exp/x"
    for inputs in VARIANTS:
        assert train(exp, inputs)
    assert len(list(exp.parent.glob("x*"))) == len(VARIANTS)
    for inputs in [*VARIANTS, *reversed(VARIANTS), VARIANTS[2]]:
        assert not train(exp, inputs), "it was trained before"
        assert (exp / "decode_a4/text").read_text() == str(inputs)
        assert len(list(exp.parent.glob("x*"))) == len(VARIANTS)
    assert "was trained with these settings before" in caplog.text


def test_a_kept_run_is_named_by_what_differs_and_its_time(tmp_path, caplog):
    caplog.set_level("INFO")
    exp = tmp_path / "x"
    train(exp, VARIANTS[0])
    os.utime(exp / "run.json", (1e9, 1e9))
    train(exp, VARIANTS[1])
    (kept,) = tmp_path.glob("x.*")
    assert kept.name.startswith("x.lr=0.001.200109") and kept in experiment.kept_runs(exp)
    assert f"the earlier run in {exp} is kept as {kept}: it differs in train.lr" in caplog.text
    train(exp, {**VARIANTS[1], "model.audio_rates": [4, 8], "train_set": "bb"})
    assert len(list(tmp_path.glob("x.audio_rates=4-16,train_set.*"))) == 1


def test_an_unfinished_run_returns_too_and_continues(tmp_path):
    exp = tmp_path / "x"
    open_experiment(exp, VARIANTS[0], resume=True)
    (exp / "checkpoints").mkdir()
    train(exp, VARIANTS[1])
    assert open_experiment(exp, VARIANTS[0], resume=True)
    assert (exp / "checkpoints").exists()


def test_a_run_returns_to_a_folder_that_is_gone_or_holds_no_run(tmp_path):
    exp = tmp_path / "x"
    train(exp, VARIANTS[0])
    train(exp, VARIANTS[1])
    exp.rename(tmp_path / "elsewhere")
    assert not train(exp, VARIANTS[0])
    exp.rename(tmp_path / "x.20010101-000000")
    exp.mkdir()
    (exp / "stages.tsv").write_text("0\n")
    assert not train(exp, VARIANTS[0])
    assert [p for p in tmp_path.glob("x.*/stages.tsv")]


def test_another_tag_with_the_same_settings_is_left_alone(tmp_path):
    train(tmp_path / "x.y", VARIANTS[0])
    assert train(tmp_path / "x", VARIANTS[0])
    assert (tmp_path / "x.y").exists()


def test_a_setting_that_came_later_counts_as_its_default(tmp_path):
    exp = tmp_path / "x"
    open_experiment(exp, {"train.num_steps": 4}, resume=True)
    later = {"train.num_steps": 4, "model.router": "shared"}
    assert open_experiment(exp, later, resume=True)
    assert not list(tmp_path.glob("x.*"))
    open_experiment(exp, later | {"model.router": "static"}, resume=True)
    assert len(list(tmp_path.glob("x.*"))) == 1


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

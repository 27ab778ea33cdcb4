import errno
import os
from pathlib import Path

import pytest

from mome import files
from mome.training import experiment
from mome.training.experiment import exclusive_lock, open_experiment


def test_two_trainings_cannot_write_one_folder(tmp_path):
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
    "resume, steps, moved", [(True, 9, False), (True, 3, True), (False, 9, True), (False, 4, True)]
)
def test_more_steps_continue_and_other_runs_are_kept_elsewhere(tmp_path, resume, steps, moved):
    exp = tmp_path / "x"
    assert open_experiment(exp, {"train.num_steps": 4}, resume=True)
    (exp / "log").write_text("first")
    assert open_experiment(exp, {"train.num_steps": steps}, resume)
    kept = list(tmp_path.glob("x.*"))
    assert len(kept) == moved
    assert ((kept[0] if moved else exp) / "log").read_text() == "first"
    assert (exp / "log").exists() != moved


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

import errno

import pytest

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


@pytest.mark.parametrize(
    "resume, steps, moved", [(True, 9, False), (True, 3, True), (False, 9, True)]
)
def test_more_steps_continue_and_other_trainings_are_moved_aside(tmp_path, resume, steps, moved):
    exp = tmp_path / "x"
    assert open_experiment(exp, {"train.num_steps": 4}, resume=True)
    (exp / "log").write_text("first")
    assert open_experiment(exp, {"train.num_steps": steps}, resume)
    aside = list(tmp_path.glob("x.*"))
    assert len(aside) == moved
    assert ((aside[0] if moved else exp) / "log").read_text() == "first"


def test_a_setting_that_came_later_counts_as_its_default(tmp_path):
    exp = tmp_path / "x"
    open_experiment(exp, {"train.num_steps": 4}, resume=True)
    later = {"train.num_steps": 4, "model.router": "shared"}
    assert open_experiment(exp, later, resume=True)
    assert not list(tmp_path.glob("x.*"))
    open_experiment(exp, later | {"model.router": "static"}, resume=True)
    assert len(list(tmp_path.glob("x.*"))) == 1

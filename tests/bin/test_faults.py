"""Training where the machine is short of something, and from states that someone has changed."""

import contextlib
import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import CONFIG, baby_recipe, metrics

from mome import checkpoint, files
from mome.bin import config as config_command
from mome.data import datadir
from mome.training import experiment

ARGS = ["--config", "train.yaml", "--train_set", "dump/feats/train"]
ARGS += ["--valid_set", "dump/feats/valid"]
NO_WARMUP = "train.ctc_warmup.num_steps=0"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A baby recipe in a folder whose name is awkward."""
    root = tmp_path_factory.mktemp("it's é [1] $x")
    return baby_recipe(root)


def train(root: Path, exp: str, *more: str, limits: dict | None = None, **env) -> tuple[int, str]:
    """The exit status and the output of a training run of one process."""

    def limit() -> None:
        for kind, most in (limits or {}).items():
            resource.setrlimit(kind, (most, most))

    shared = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    with socket.socket() as free:
        free.bind(("", 0))
        shared["MASTER_PORT"] = str(free.getsockname()[1])
    shared |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    variables = {**os.environ, **shared, **env}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mome.bin.train",
            *ARGS,
            "--exp_dir",
            exp,
            "--resume",
            NO_WARMUP,
            *more,
        ],
        cwd=root,
        env={name: value for name, value in variables.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        preexec_fn=limit,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout


def test_awkward_paths_few_files_no_home_and_another_locale_do_no_harm(recipe):
    surroundings = {"HOME": None, "TMPDIR": "/nonexistent", "LC_ALL": "C", "LANG": None}
    status, output = train(
        recipe,
        "exp/ü 1",
        "train.num_steps=2",
        "train.data_workers=2",
        limits={resource.RLIMIT_NOFILE: 128},
        **surroundings,
    )
    assert status == 0, output[-3000:]
    assert [m["step"] for m in metrics(recipe / "exp/ü 1") if "loss" in m] == [1, 2]
    assert checkpoint.read(recipe / "exp/ü 1/best")


class Call:
    """Runs a program when it is read without care."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.slow
@pytest.mark.parametrize("zero", [0, 2])
def test_a_state_with_a_program_in_it_ends_the_run_and_does_not_run(recipe, zero, tell):
    exp, settings = f"exp/zero{zero}", [f"train.deepspeed=zero{zero}.json", "train.save_every=2"]
    status, output = train(recipe, exp, *settings, "train.num_steps=2")
    assert status == 0, output[-3000:]
    trap = recipe / "trap"
    for path in sorted((recipe / exp / "checkpoints/step_2").glob("*_states.pt")):
        before = path.read_bytes()
        state = torch.load(path, weights_only=False)
        torch.save(state | {"more": Call(f"touch '{trap.name}'")}, path)
        status, output = train(recipe, exp, *settings, "train.num_steps=4")
        assert status == 1 and "Traceback" not in output, output[-3000:]
        line = tell(f"ZeRO {zero}: a program in {path.name}", output.splitlines()[-1])
        assert line.startswith("mome train: error: ") and f"{path.name} names posix.system" in line
        assert not trap.exists()
        path.write_bytes(before)
    status, output = train(recipe, exp, *settings, "train.num_steps=4")
    assert status == 0 and "resumed after step 2" in output, output[-3000:]


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_one_line_and_the_next_one_continues(recipe, tell):
    """A limit on the size of files stands for a full disk: the weights fit, the states do not."""
    settings = ["train.num_steps=4", "train.save_every=2", "train.valid_every=4"]
    limits = {resource.RLIMIT_FSIZE: 60_000}
    status, output = train(recipe, "exp/full", *settings, limits=limits)
    assert status == 1 and "Traceback" not in output, output[-3000:]
    line = tell("a full disk, a state", output.splitlines()[-1])
    assert "step_2" in line and "free some disk" in line
    status, output = train(recipe, "exp/full", *settings)
    assert status == 0, output[-3000:]
    # A run of more steps keeps a copy of the finished one, for which there is no room.
    more = ["train.num_steps=6", *settings[1:]]
    status, output = train(recipe, "exp/full", *more, limits=limits)
    assert status == 1 and "Traceback" not in output, output[-3000:]
    line = tell("a full disk, a copy of a finished run", output.splitlines()[-1])
    assert "cannot be copied to exp/full.num_steps=4" in line
    assert [path.name for path in (recipe / "exp").glob("full*")] == ["full"]
    status, output = train(recipe, "exp/full", *more)
    assert status == 0 and "resumed after step 4" in output, output[-3000:]


@contextlib.contextmanager
def refusing(monkeypatch, error: int):
    """Every file that is opened for writing is refused with an error of the system."""
    real = Path.open

    def refused(path: object, mode: str) -> None:
        if set(mode) & set("wax+"):
            raise OSError(error, os.strerror(error), str(path))

    def open_path(path, mode="r", *args, **kwargs):
        refused(path, mode)
        return real(path, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_path)
        patch.setattr(Path, "write_text", lambda path, *args, **kwargs: refused(path, "w"))
        yield


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EMFILE])
def test_a_folder_that_cannot_be_written_is_named_and_stays_as_it_was(
    tmp_path, kaldi_tables, monkeypatch, error, tell
):
    datadir.write(tmp_path / "data", kaldi_tables)
    inputs = {"train.lr": 1}
    assert experiment.open_experiment(tmp_path / "exp", inputs, resume=True)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for write in (
        lambda: datadir.write(tmp_path / "data", kaldi_tables.subset(["s1-00001"])),
        lambda: files.write_json(tmp_path / "exp/run.json", {}),
        lambda: experiment.open_experiment(tmp_path / "exp", inputs, resume=True),
    ):
        with refusing(monkeypatch, error), pytest.raises(OSError, match=r"/tmp|/") as caught:
            write()
        tell(f"a file that cannot be written: {errno.errorcode[error]}", caught.value)
        assert caught.value.errno == error and str(tmp_path) in str(caught.value)
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_two_runs_in_one_folder_are_refused_in_one_line(tmp_path, refused):
    code = f"""if True:
        from pathlib import Path
        from mome.training.experiment import exclusive_lock
        with exclusive_lock(Path({str(tmp_path / "exp")!r})):
            print("locked", flush=True)
            input()
    """
    environment = {**os.environ, "DS_ACCELERATOR": "cpu"}
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "locked\n"
        with (
            refused("two runs of one tag", "exp is being trained by another process: wait"),
            experiment.exclusive_lock(tmp_path / "exp"),
        ):
            pass
    finally:
        other.kill()  # the system frees the lock
        other.wait()
    with experiment.exclusive_lock(tmp_path / "exp"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\x00"])
def test_notes_that_were_damaged_lead_to_new_work_or_one_line(tmp_path, text, refused):
    files.write_stamp(tmp_path, {"a": 1})
    assert files.up_to_date(tmp_path, {"a": 1})
    (tmp_path / files.STAMP).write_text(text)
    assert not files.up_to_date(tmp_path, {"a": 1})
    assert files.changed_inputs(tmp_path, {"a": 1}) == ["a"]
    (tmp_path / "run.json").write_text(text)
    with refused(f"run.json holds {text!r}", r"run.json is damaged: .*give --tag a new name"):
        experiment.differences(tmp_path, {"a": 1})


def test_a_config_in_an_awkward_folder_is_read(tmp_path, capsys):
    folder = tmp_path / "it's é [1] $x"
    folder.mkdir()
    (folder / "train x.yaml").write_text(CONFIG)
    config_command.main([str(folder / "train x.yaml"), "--get", "train.num_steps"])
    assert capsys.readouterr().out == "12\n"

"""Saved states: the newest whole one is found, and none of them runs a program."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import baby_model
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address

from mome import checkpoint
from mome.config import Config
from mome.training import saved_states
from mome.training.distributed import data_only

MODEL = "mp_rank_00_model_states.pt"
OPTIM = "bf16_zero_pp_rank_{}_mp_rank_00_optim_states.pt"


def save_state(exp_dir: Path, step: int, zero: int = 0, processes: int = 1) -> Path:
    """checkpoints/step_<n> with what DeepSpeed writes there."""
    model, folder = baby_model(), exp_dir / f"checkpoints/step_{step}"
    checkpoint.save(folder, model.trained(), Config(), {})
    state = {
        "module": {name: p.detach() for name, p in model.trained().items()},
        "ds_config": {"zero_optimization": {"stage": zero}},
        "dp_world_size": processes,
        "step": step,
        "best": 1.0,
    }
    if zero < 3:
        torch.save(state, folder / MODEL)
    for rank in range(processes if zero else 0):
        if zero == 3:
            torch.save(state, folder / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
        optim = {"zero_stage": ZeroStageEnum(zero), "loss_scaler": LossScaler(1.0)}
        optim["slices"] = fragment_address(numel=3, start=0)
        torch.save({"optimizer_state_dict": optim}, folder / OPTIM.format(rank))
    (exp_dir / "checkpoints/latest").write_text(f"step_{step}")
    return folder


@pytest.fixture(scope="module")
def experiments(tmp_path_factory) -> dict[int, Path]:
    """Two steps by two processes (one without ZeRO), by stage of ZeRO."""
    root = tmp_path_factory.mktemp("experiments")
    for zero in (0, 2, 3):
        for step in (8, 12):
            save_state(root / f"zero{zero}", step, zero, processes=2 if zero else 1)
    return {zero: root / f"zero{zero}" for zero in (0, 2, 3)}


@pytest.fixture(params=[0, 2, 3])
def exp_dir(request, experiments, tmp_path) -> Path:
    return Path(shutil.copytree(experiments[request.param], tmp_path / f"zero{request.param}"))


def num_processes(exp_dir: Path) -> int:
    return 1 if exp_dir.name == "zero0" else 2


def newest(exp_dir: Path) -> str | None:
    return saved_states.newest_whole(exp_dir, num_processes(exp_dir))


def state_files(exp_dir: Path, step: int = 12) -> list[Path]:
    return sorted((exp_dir / f"checkpoints/step_{step}").glob("*_states.pt"))


class Call:
    """Runs a program when it is read without care."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_that_would_run_a_program_is_refused_and_does_not_run_it(
    exp_dir, tmp_path, zipped, refused
):
    trap = tmp_path / "trap"
    for path in state_files(exp_dir):
        before = path.read_bytes()
        state = torch.load(path, weights_only=False)
        state |= {"more": Call(f"touch {trap}")}
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        with refused(
            f"a program in {path.name}", rf"{path.name} names posix.system, which no saved"
        ):
            newest(exp_dir)
        assert not trap.exists()
        torch.load(path, weights_only=False)  # what DeepSpeed does
        assert trap.exists(), "the trap is none"
        trap.unlink()
        path.write_bytes(before)
    assert newest(exp_dir) == "step_12"


def test_whatever_a_caller_asks_for_only_data_are_read(tmp_path):
    trap = tmp_path / "trap"
    torch.save(Call(f"touch {trap}"), tmp_path / "x.pt")
    with data_only(), pytest.raises(Exception, match=r"GLOBAL posix\.system"):
        torch.load(tmp_path / "x.pt", weights_only=False)
    assert not trap.exists()
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert trap.exists()  # the context has ended


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    half = len(data) // 2
    if kind == "gone":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "half":
        path.write_bytes(data[:half])
    elif kind == "bit":
        path.write_bytes(data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])
    elif kind == "text":
        path.write_text("hello")
    else:
        torch.save([1], path)


@pytest.mark.parametrize("kind", ["gone", "empty", "half", "bit", "text", "list"])
def test_a_damaged_state_gives_way_to_the_one_before(exp_dir, kind, caplog):
    for path in [*state_files(exp_dir), exp_dir / "checkpoints/step_12/model.safetensors"]:
        if path.suffix == ".safetensors" and kind == "bit":
            continue
        before = path.read_bytes()
        damage(path, kind)
        caplog.clear()
        assert newest(exp_dir) == "step_8"
        assert [r.levelname for r in caplog.records] == ["WARNING"]
        assert "step_8, since " in caplog.text and "step_12" in caplog.text
        path.write_bytes(before)
    assert newest(exp_dir) == "step_12"


@pytest.mark.parametrize("text", [None, "", "step_99", "x"])
def test_a_wrong_note_of_the_latest_state_does_not_matter(exp_dir, text):
    latest = exp_dir / "checkpoints/latest"
    latest.unlink()
    if text is not None:
        latest.write_text(text)
    assert newest(exp_dir) == "step_12"


def test_without_a_whole_state_the_folder_and_its_faults_are_named(exp_dir, refused):
    for step in (8, 12):
        for path in state_files(exp_dir, step):
            path.unlink()
    with refused("no state is whole", r"holds no state to continue from: .*step_12 lacks"):
        newest(exp_dir)
    shutil.rmtree(exp_dir / "checkpoints/step_8")
    shutil.rmtree(exp_dir / "checkpoints/step_12")
    with refused("no state at all", r"it has no step_<n>; bring back a copy, or delete"):
        newest(exp_dir)


def test_a_run_that_was_killed_before_its_first_state_starts_anew(exp_dir, caplog):
    (exp_dir / "checkpoints/latest").unlink()
    shutil.rmtree(exp_dir / "checkpoints/step_8")
    damage(state_files(exp_dir)[0], "half")
    assert newest(exp_dir) is None and "starts anew, since" in caplog.text
    for path in state_files(exp_dir):
        path.unlink()
    assert newest(exp_dir) is None
    assert newest(exp_dir / "none") is None


def test_a_state_of_another_step_or_number_of_processes_is_no_state_of_this_run(exp_dir, refused):
    folder = exp_dir / "checkpoints"
    shutil.rmtree(folder / "step_12")
    (folder / "step_8").rename(folder / "step_12")
    with refused("a state of another step", "step_12 holds the state of step 8"):
        newest(exp_dir)
    (folder / "step_12").rename(folder / "step_8")
    if num_processes(exp_dir) == 2:
        with refused(
            "another number of processes", r"saved by 2 processes, and .* to 4: train with 2"
        ):
            saved_states.newest_whole(exp_dir, 4)
    else:
        assert saved_states.newest_whole(exp_dir, 4) == "step_8"


class Engine:
    """What `load` uses of DeepSpeed's engine."""

    def __init__(self):
        self.module = baby_model()

    def load_checkpoint(self, folder: str, tag: str, custom_load_fn):
        state = torch.load(Path(folder, tag, MODEL), weights_only=False)
        custom_load_fn(src=state["module"], dst=self.module)
        return folder, state


def test_weights_that_are_missing_or_of_another_shape_are_refused(tmp_path, refused):
    path = save_state(tmp_path, 8) / MODEL
    engine, state = Engine(), torch.load(path)
    assert saved_states.load(engine, tmp_path, "step_8")["step"] == 8
    name = next(name for name in state["module"] if "router" in name)
    weight = state["module"].pop(name)
    torch.save(state, path)
    with refused("a weight is missing", rf"step_8 lacks 1 of the trained weights, such as {name}"):
        saved_states.load(engine, tmp_path, "step_8")
    state["module"][name] = weight[:1]
    torch.save(state, path)
    with refused("a weight of another shape", r"step_8 is of another model: size mismatch for"):
        saved_states.load(engine, tmp_path, "step_8")

"""The states that DeepSpeed saved of a training run: which of them are whole.

A state is the files `*_states.pt` of `checkpoints/step_<n>/`, beside the weights; the file `latest`
names the last one that was finished. They are pickles, which may run any program when they are
read. Here, and when training continues, they are read as data alone: see `distributed.data_only`.
"""

import contextlib
import logging
import pickle
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from mome import checkpoint
from mome.training.distributed import data_only

KEYS = ("module", "step", "best", "dp_world_size", "ds_config")  # in the state of each model
log = logging.getLogger(__name__)


class DangerousStateError(ValueError):
    """A file of a state names what only a program would need."""


def newest_whole(exp_dir: Path, num_processes: int) -> str | None:
    """The name of the newest folder whose state is whole, such as step_8; None to start anew.

    Damaged ones are logged. Raises ValueError when a state was finished but none is whole, when one
    would run a program, and when ZeRO has cut it for another number of processes.
    """
    folder = exp_dir / "checkpoints"
    latest = folder / "latest"
    faults = []
    for step_dir in reversed(checkpoint.steps(exp_dir)):
        if not latest.exists() and not any(step_dir.glob("*_states.pt")):
            continue  # the first one was not finished
        try:
            state = read_whole(step_dir)
        except DangerousStateError:
            raise
        except (ValueError, OSError) as error:
            faults.append(str(error))
            continue
        for fault in faults:
            log.warning(f"training continues from {step_dir}, since {fault}")
        then = state["dp_world_size"]
        if zero_stage(state) and then != num_processes:
            raise ValueError(
                f"{step_dir} was saved by {then} processes, and ZeRO cannot give its state to"
                f" {num_processes}: train with {then}, or give --tag a new name"
            )
        return step_dir.name
    if latest.exists():
        found = "; ".join(faults) or "it has no step_<n>"
        raise ValueError(
            f"{folder} holds no state to continue from: {found}; bring back a copy, or delete the"
            " folder to train anew"
        )
    for fault in faults:
        log.warning(f"training starts anew, since {fault}")
    return None


def read_whole(step_dir: Path) -> dict[str, Any]:
    """The state of the model in a folder, of rank 0 under ZeRO 3, after a check of all its files.

    Raises ValueError or FileNotFoundError, in one line, for one that is missing, damaged or of
    another step.
    """
    checkpoint.read(step_dir)
    states = {path.name: read_file(path) for path in sorted(step_dir.glob("*_states.pt"))}
    models = [state for name, state in states.items() if name.endswith("model_states.pt")]
    others = [state for name, state in states.items() if not name.endswith("model_states.pt")]
    if not models:
        raise FileNotFoundError(f"{step_dir} lacks its *model_states.pt")
    first = models[0]
    fit = [has(state, KEYS) for state in models]
    if not all(fit + [has(state, ["optimizer_state_dict"]) for state in others]):
        raise ValueError(f"{step_dir} holds no state of a training run")
    if f"step_{first['step']}" != step_dir.name:
        raise ValueError(f"{step_dir} holds the state of step {first['step']}")
    kinds = {0: [], 3: ["optim", "model"]}.get(zero_stage(first), ["optim"])
    for kind in kinds:
        for rank in range(first["dp_world_size"]):
            ending = f"zero_pp_rank_{rank}_mp_rank_00_{kind}_states.pt"
            if not any(name.endswith(ending) for name in states):
                raise FileNotFoundError(f"{step_dir} lacks its *{ending}")
    return first


def has(state: Any, keys: Sequence[str]) -> bool:
    """Whether the content of a file is a dict with these keys."""
    return isinstance(state, dict) and all(key in state for key in keys)


def zero_stage(state: dict[str, Any]) -> int:
    """The stage of ZeRO that a state was saved with."""
    zero = state["ds_config"].get("zero_optimization")
    return zero.get("stage", 0) if zero else 0


def read_file(path: Path) -> Any:
    """One file of a state, on the CPU. ValueError when it is damaged, or names what it may not.

    PyTorch does not look at the checksums of the file; this function does.
    """
    try:
        with data_only():
            state = torch.load(path, map_location="cpu")
        if not zipfile.is_zipfile(path):  # as torch.save wrote long ago
            return state
        with zipfile.ZipFile(path) as file:
            if file.testzip() is None:
                return state
    except pickle.UnpicklingError as error:
        if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise DangerousStateError(
                f"{path} names {named[1]}, which no saved state needs: it may run any program when"
                " it is read; delete its folder if you do not know where it comes from"
            ) from None
    except (zipfile.BadZipFile, RuntimeError, EOFError, KeyError, NotImplementedError, OSError):
        pass
    raise ValueError(f"{path} is damaged ({path.stat().st_size} bytes)")


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A context in which a file that cannot be written is an OSError that says what to do.

    PyTorch and safetensors have errors of their own for a full disk.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        text = " ".join(str(error).split())
        if (
            isinstance(error, RuntimeError)
            and "Writer" not in text
            and "unexpected pos" not in text
        ):
            raise
        raise OSError(
            f"{folder} cannot be written ({text}): free some disk or allow writing, and start"
            " again; --resume continues from the checkpoint before"
        ) from None


def load(engine: Any, exp_dir: Path, tag: str) -> dict[str, Any]:
    """Load a state into DeepSpeed's engine; what else was saved with it, such as "step".

    Raises ValueError when the state lacks a trained weight or has it in another shape.
    """

    def load_weights(src: dict[str, torch.Tensor], dst: torch.nn.Module) -> None:
        if missing := sorted(dst.trained().keys() - src.keys()):  # type: ignore[operator]
            raise ValueError(
                f"{exp_dir}/checkpoints/{tag} lacks {len(missing)} of the trained weights, such as"
                f" {missing[0]}: training cannot continue from it; delete the folder to continue"
                " from the one before, or give --tag a new name"
            )
        try:
            dst.load_state_dict(src, strict=False)  # the frozen ones are not in it
        except RuntimeError as error:
            fault = str(error).splitlines()[-1].strip()  # of the last weight that does not fit
            raise ValueError(
                f"{exp_dir}/checkpoints/{tag} is of another model: {fault} Give --tag a new name"
            ) from None

    folder = str(exp_dir / "checkpoints")
    with data_only():
        path, state = engine.load_checkpoint(folder, tag=tag, custom_load_fn=load_weights)
    assert path is not None, f"{folder}/{tag} was there a moment ago"
    return state

"""A loss or a gradient that is not finite in one of two processes stops both, under each ZeRO."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import baby_recipe, metrics

from mome import checkpoint
from mome.training import saved_states

SCRIPT = Path(__file__).with_name("diverging_runs.py")
FAST = ["1 bfloat16 loss 1 6", "3 bfloat16 gradient 1 5"]
ALL = [
    f"{zero} {dtype} {kind} {zero % 2} {batch}"
    for zero in range(4)
    for dtype, batch in (("float32", 5), ("bfloat16", 6))
    for kind in ("loss", "gradient")
]


def run_all(root: Path, names: list[str]) -> list[dict]:
    """Train all of these runs in two processes; how they ended, by name, for each process."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *names],
            cwd=root,
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        outputs = [run.communicate(timeout=120 + 30 * len(names))[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    assert [run.returncode for run in runs] == [0, 0], "\n".join(o[-3000:] for o in outputs)
    return [json.loads((root / f"ended_{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("names", [FAST, pytest.param(ALL, marks=pytest.mark.slow)])
def test_both_processes_stop_at_the_step_and_keep_the_state_before(tmp_path, names, tell):
    ended = run_all(baby_recipe(tmp_path), names)
    for name in names:
        zero, dtype, kind, rank, batch = name.split()
        exp_dir, (one, other) = tmp_path / "exp" / name, (e[name] for e in ended)
        step = (int(batch) + 1) // 2  # two batches of each process are a step
        line = tell(f"ZeRO {zero}, {dtype}: a {kind} that is not finite", one["error"])
        assert line == other["error"], name
        assert line.startswith(f"step {step}: the {kind} is not finite in the batch of s"), name
        spoiled = (one, other)[int(rank)]["utterances"]
        listed = (exp_dir / "not_finite.txt").read_text().split()
        assert spoiled and (listed == spoiled if kind == "loss" else set(listed) >= set(spoiled))
        assert [m["step"] for m in metrics(exp_dir) if "loss" in m] == list(range(1, step)), name
        assert [p.name for p in checkpoint.steps(exp_dir)] == ["step_2"], name
        assert saved_states.newest_whole(exp_dir, 2) == "step_2", name
        assert "checkpoints/step_2, and --resume continues from it" in line

"""Sums over devices, and where DeepSpeed's lines go."""

import io
import logging

import pytest
import torch
import torch.distributed as dist

from mome.training import distributed
from mome.training.distributed import clock, means, sums_over_devices, total

CPU = torch.device("cpu")


def test_a_total_is_exact_for_counts_beyond_float32(process_group):
    assert total(2**24 + 1, CPU) == 2**24 + 1
    assert total(True, CPU) == 1


def batch_stats(weight: float, **values: float) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}, torch.tensor(weight)


NAMES = ["loss", "loss_a4", "loss_a16"]


def test_means_weigh_batches_and_skip_values_that_one_lacks(process_group):
    stats = [batch_stats(30, loss=1.0, loss_a4=5.0), batch_stats(10, loss=2.0)]
    sums = sums_over_devices(stats, NAMES, CPU, [7, torch.tensor(0.5), True]).tolist()
    assert means(sums, NAMES) == {"loss": pytest.approx(1.25), "loss_a4": 5.0}
    assert sums[2 * len(NAMES) :] == [7, 0.5, 1]
    assert means(sums_over_devices([], NAMES, CPU).tolist(), NAMES) == {}


def test_the_routers_have_a_group_of_their_own_when_their_learning_rate_differs():
    names = ["llm.layers.0.adapter.down.weight", "llm.layers.0.adapter.router.weight", "prompt.x"]
    trained = {name: torch.nn.Parameter(torch.ones(1)) for name in names}
    assert [len(g["params"]) for g in distributed.parameter_groups(trained, 1.0)] == [3]
    groups = distributed.parameter_groups(trained, 3.0)
    assert groups[1]["params"][0] is trained[names[1]]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    distributed.set_learning_rate(optimizer, 2e-3)
    assert [g["lr"] for g in optimizer.param_groups] == [2e-3, pytest.approx(6e-3)]
    del trained[names[1]]
    assert [len(g["params"]) for g in distributed.parameter_groups(trained, 3.0)] == [2]


def test_a_value_without_a_place_is_not_lost_in_silence(process_group):
    with pytest.raises(AssertionError, match="other"):
        sums_over_devices([batch_stats(1, other=1.0)], NAMES, CPU)


def test_means_cover_the_batches_of_all_devices_by_one_call(process_group, monkeypatch):
    calls = []
    other = sums_over_devices([batch_stats(3, loss=4.0)], NAMES, CPU, [5])

    def all_reduce(own: torch.Tensor) -> None:
        calls.append(own.add_(other))

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    sums = sums_over_devices([batch_stats(1, loss=0.0)], NAMES, CPU, [2]).tolist()
    assert means(sums, NAMES) == {"loss": 3.0} and sums[-1] == 7 and len(calls) == 1


def test_without_a_launcher_it_says_how_to_start(monkeypatch):
    for name in distributed.LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match=r"^LOCAL_RANK, .* deepspeed --num_gpus 1 --module"):
        distributed.connect()


def test_lines_of_deepspeed_go_to_the_log_file_and_its_warnings_to_the_terminal_too(
    tmp_path, monkeypatch
):
    root, log = logging.getLogger(), logging.getLogger("DeepSpeed")
    handler = next(h for h in log.handlers if type(h) is logging.StreamHandler)  # not pytest's
    terminal = io.StringIO()
    monkeypatch.setattr(handler, "stream", terminal)
    monkeypatch.setattr(log, "handlers", [handler])
    monkeypatch.setattr(log, "level", log.level)
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    distributed.log_to_file(tmp_path / "train.log")
    log.info("a bucket")
    log.warning("no compiler")
    logging.getLogger("mome").warning("ours")
    for line in ("a bucket", "no compiler", "ours"):
        assert (tmp_path / "train.log").read_text().count(line) == 1
    assert "no compiler" in terminal.getvalue() and "a bucket" not in terminal.getvalue()


def test_a_clock_shows_hours_only_where_there_are_any():
    assert [clock(s) for s in (0, 59.6, 3599, 3661)] == ["0:00", "1:00", "59:59", "1:01:01"]

"""Muon gives what PyTorch's own gives, and two processes what one gives."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import nn

from mome.training import muon
from mome.training.muon import Muon, orthogonal

SHAPES = [(24, 40), (40, 24), (8, 4, 3, 3), (16,)]


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def train(optimizer, weights: list[nn.Parameter], num_steps: int = 4) -> None:
    for step in range(num_steps):
        torch.manual_seed(step)
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        optimizer.step(lr=0.1)


@pytest.mark.parametrize("shape", [(24, 216), (216, 24), (64, 64)])
def test_an_update_has_the_directions_of_its_matrix_and_singular_values_of_about_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonal(matrix, 5) @ right.T
    ones = found.diagonal()[values > 0.1 * values.max()]
    assert ones.min() > 0.6 and ones.max() < 1.3
    assert (found - torch.diag(found.diagonal())).abs().max() < 1e-4


def test_matrices_change_as_with_the_muon_of_pytorch(monkeypatch):
    monkeypatch.setattr(muon, "orthogonal", partial(orthogonal, iterations=5))
    own, theirs = parameters(), [nn.Parameter(p.detach().flatten(1)) for p in parameters()[:3]]
    train(Muon(own, weight_decay=0.05, dtype=torch.bfloat16), own)
    reference = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    train_reference(reference, theirs)
    for a, b in zip(own, theirs, strict=False):
        torch.testing.assert_close(a.flatten(1), b, rtol=0, atol=1e-6)


def train_reference(optimizer, weights: list[nn.Parameter], num_steps: int = 4) -> None:
    for step in range(num_steps):
        torch.manual_seed(step)
        for weight, shape in zip(weights, SHAPES, strict=False):
            weight.grad = torch.randn(shape).flatten(1)
        optimizer.step()


def test_vectors_change_as_with_adamw():
    own, (*_, theirs) = parameters(), parameters()
    train(Muon(own, weight_decay=0.05), own)
    optimizer = torch.optim.AdamW([theirs], 0.1, betas=(0.9, 0.98), weight_decay=0.05)
    for step in range(4):
        torch.manual_seed(step)
        theirs.grad = [torch.randn(shape) for shape in SHAPES][-1]
        optimizer.step()
    torch.testing.assert_close(own[-1], theirs)


def test_gradients_are_cleared_after_a_step():
    own = parameters()
    train(Muon(own, weight_decay=0.0), own, 1)
    assert all(p.grad is None for p in own)


def test_two_processes_that_share_the_work_find_what_one_finds(tmp_path):
    processes.spawn(work, (tmp_path,), nprocs=2)
    alone = parameters()
    train(Muon(alone, weight_decay=0.05), alone)
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / str(rank)), [p.detach() for p in alone])


def work(rank: int, folder) -> None:
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    own = parameters()
    optimizer = Muon(own, weight_decay=0.05, rank=rank, num_jobs=2)
    assert len(optimizer.own) < 3  # a part of the three matrices
    train(optimizer, own)
    torch.save([p.detach() for p in own], folder / str(rank))
    dist.barrier()
    dist.destroy_process_group()

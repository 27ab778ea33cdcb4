"""Muon (Jordan et al., 2024) for small networks on a CPU, shared by the processes of a run.

The momentum of each matrix is replaced by the nearest matrix whose singular values are all about 1,
so every direction learns equally fast. `torch.optim.Muon` computes in bfloat16 always, which a CPU
without it can only imitate, and each process would repeat the same work.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the iteration; Jordan et al. chose them
ITERATIONS = 3  # five are usual; three reach the same error here


class Muon:
    """Muon for matrices, convolutions included, and AdamW for vectors.

    Each process updates its share of the matrices and sends them to the others.

    Args:
        parameters: all that is trained; the same on all processes, as their gradients must be.
        weight_decay: of matrices and vectors.
        dtype: precision of the iteration.
        rank, num_jobs: of this process, and how many there are.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        weight_decay: float,
        dtype: torch.dtype = torch.float32,
        rank: int = 0,
        num_jobs: int = 1,
    ):
        self.parameters, self.weight_decay, self.dtype = parameters, weight_decay, dtype
        matrices = [p for p in parameters if p.ndim > 1]
        matrices.sort(key=lambda p: p.numel(), reverse=True)
        self.shares = [matrices[i::num_jobs] for i in range(num_jobs)]
        self.own = self.shares[rank]
        self.momenta = [torch.zeros_like(p) for p in self.own]
        self.vectors = torch.optim.AdamW(
            [p for p in parameters if p.ndim < 2],
            lr=0.0,
            weight_decay=weight_decay,
            betas=(0.9, 0.98),
            fused=True,
        )

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update the parameters by their gradients, and clear these.

        A matrix changes by about as much as with AdamW at the same learning rate.
        """
        self.vectors.param_groups[0]["lr"] = lr
        self.vectors.step()
        for parameter, momentum in zip(self.own, self.momenta, strict=True):
            assert parameter.grad is not None
            momentum.lerp_(parameter.grad, 1 - MOMENTUM)
            update = parameter.grad.lerp(momentum, MOMENTUM).flatten(1).to(self.dtype)
            update = orthogonal(update).to(parameter.dtype).view_as(parameter)
            size = 0.2 * max(parameter.flatten(1).shape) ** 0.5
            parameter.mul_(1 - lr * self.weight_decay).add_(update, alpha=-lr * size)
        if len(self.shares) > 1:
            for source, share in enumerate(self.shares):
                flat = torch.cat([p.flatten() for p in share])
                dist.broadcast(flat, source)
                parts = flat.split([p.numel() for p in share])
                for parameter, part in zip(share, parts, strict=True):
                    parameter.copy_(part.view_as(parameter))
        for parameter in self.parameters:
            parameter.grad = None


def orthogonal(matrix: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """The matrix (M, N) with all its singular values moved to about 1, by Newton and Schulz."""
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(iterations):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if len(matrix) <= matrix.shape[1] else wide.T

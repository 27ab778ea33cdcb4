"""The plain parallel adapter: one expert that sees every token, no router (MoME Table 3, row 1).

What a mixture of experts is compared with: the same width without a choice.

Shape key
    B  batch    N  tokens    D  width of the LLM    H  bottleneck
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn


class Plain(nn.Module):
    """Linear(D -> H) - GELU - Linear(H -> D). Starts as a no-op: the second is zero."""

    def __init__(self, dim: int, bottleneck: int):
        super().__init__()
        if bottleneck < 1:
            raise ValueError(f"bottleneck must be 1 or more, got {bottleneck}")
        self.down, self.up = nn.Linear(dim, bottleneck), nn.Linear(bottleneck, dim)
        bound = 1 / math.sqrt(dim)
        nn.init.uniform_(self.down.weight, -bound, bound)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.up(F.gelu(self.down(x_BND)))

    def first_weights(self) -> list[nn.Parameter]:
        """Those that meet the input."""
        return [self.down.weight]

    def active_parameters(self) -> int:
        """Parameters used for a token: all."""
        return sum(p.numel() for p in self.parameters())

"""LoRA for a frozen linear layer: one for all scales or one for each (Llama-AVSR, Llama-MTSK).

    LoRA(x) = alpha / rank * (x A^T) B^T,  added to the output of the layer

| form | pairs of A and B                  | active at a scale                 |
|------|-----------------------------------|-----------------------------------|
| ms   | one                               | the one                           |
| ss   | one for each scale                | that of the scale                 |
| mss  | a common one, one for each scale  | the common one, that of the scale |

Hu et al. 2022; the Matryoshka forms are those of Llama-MTSK (Cappellazzo et al. 2025). At first one
of A and B is zero: B, as usual, or A, as in the code of Llama-AVSR. With A = 0 the first steps move
the output much farther, since B is large from the start.

Shape key
    B  batch    N  tokens    I  width of the input    O  width of the output
    P  pairs    K  rank
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FORMS = ("ms", "ss", "mss")
STARTS = ("uniform", "peers")  # what is zero at first: B, or A


class LoRA(nn.Module):
    """What LoRA adds to the output of a frozen linear layer; at first nothing.

    Args:
        in_dim, out_dim: widths of the linear layer.
        rank: rank of each pair.
        alpha: the output is scaled by alpha / rank.
        form: ms, ss or mss.
        num_scales: number of scales; `scale_index` is the one of the next forward pass.
        start: "uniform", A is Kaiming-uniform and B zero; "peers", A is zero and B Kaiming-uniform.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        rank: int,
        alpha: float,
        form: str = "ms",
        num_scales: int = 1,
        start: str = "uniform",
    ):
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}; got {form!r}")
        if rank < 1:
            raise ValueError(f"rank must be 1 or more, got {rank}")
        if start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(STARTS)}; got {start!r}")
        num_pairs = {"ms": 1, "ss": num_scales, "mss": 1 + num_scales}[form]
        # All pairs in one parameter, so that every step has a gradient for all of them.
        self.a_PKI = nn.Parameter(torch.zeros(num_pairs, rank, in_dim))
        self.b_POK = nn.Parameter(torch.zeros(num_pairs, out_dim, rank))
        for weight in self.b_POK if start == "peers" else self.a_PKI:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        self.factor, self.form, self.scale_index = alpha / rank, form, 0

    @property
    def active(self) -> list[int]:
        """The pairs that are used at the scale."""
        return {"ms": [0], "ss": [self.scale_index], "mss": [0, 1 + self.scale_index]}[self.form]

    def forward(self, x_BNI: Tensor) -> Tensor:
        a_KI = torch.cat([self.a_PKI[p] for p in self.active])
        b_OK = torch.cat([self.b_POK[p] for p in self.active], dim=1)
        return F.linear(F.linear(x_BNI.to(a_KI.dtype), a_KI), b_OK) * self.factor

    def input_weights(self) -> list[Tensor]:
        """The weights that multiply the input."""
        return [self.a_PKI]

    def active_parameters(self) -> int:
        """Parameters that are used at a scale."""
        return len(self.active) * (self.a_PKI[0].numel() + self.b_POK[0].numel())

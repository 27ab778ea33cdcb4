"""The MoME layer: a mixture of small experts parallel to a frozen block of the LLM (MoME §3.2).

    MoME(x) = sum over shared experts E_s(x)  +  sum over the top-K routed experts g_n(x) E_n(x)
    g = softmax over all routed experts;  E(x) = Linear(D -> H) - GELU - Linear(H -> D)

An expert is 1 to 48 wide, so all experts together are narrow. They run on every token as one dense
product, and an expert that was not chosen has gate zero. The result is that of a loop over experts,
without its cost. All experts share one parameter, so every process of a training run has gradients
for all of them.

A router, one linear layer, decides which experts a token is sent to. The two other kinds of router
are ablations (`ROUTERS`).

Shape key
    B  batch              N  tokens in the sequence    D  width of the LLM
    R  routed experts     S  shared experts            E  all experts, R + S, routed first
    H  width of one expert                             C  scales
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROUTERS = {
    "shared": "one for all scales (the paper)",
    "per_scale": "one for each scale (the paper's disjoint routers, Table 7)",
    "static": "a learned choice of the layer that ignores the token",
}


class MoME(nn.Module):
    """Experts on the input of a block; their output is added to that of the block.

    A new one is a no-op, since its up-projections and their biases are zero.

    Args:
        dim: width of the LLM.
        num_routed, num_active: number of routed experts, and how many of them a token is sent to.
        num_shared: number of experts that see every token, with weight 1.
        expert_dim: width of one expert (the bottleneck).
        renormalise: scale the gates of the chosen experts to sum to 1 (the paper does not).
        router: shared, per_scale or static, see `ROUTERS`.
        num_scales: number of scales; `scale_index` is the one of the next forward pass.
    """

    def __init__(
        self,
        dim: int,
        num_routed: int,
        num_active: int,
        num_shared: int,
        expert_dim: int,
        renormalise: bool = False,
        router: str = "shared",
        num_scales: int = 1,
    ):
        super().__init__()
        if router not in ROUTERS:
            raise ValueError(f"router must be one of {', '.join(ROUTERS)}; got {router!r}")
        if not 0 < num_active <= num_routed:
            raise ValueError(f"num_active must be in 1..{num_routed}, got {num_active}")
        if num_shared < 0 or expert_dim < 1:
            raise ValueError(
                f"num_shared must be 0 or more and expert_dim 1 or more; got {num_shared} and"
                f" {expert_dim}"
            )
        self.num_routed, self.num_active, self.num_shared = num_routed, num_active, num_shared
        self.expert_dim, self.renormalise = expert_dim, renormalise
        num_experts = num_routed + num_shared
        self.kind, self.scale_index = router, 0
        if router == "static":
            self.choice_R = nn.Parameter(torch.randn(num_routed) * 0.02)
        else:  # the routers of all scales, concatenated
            num_routers = num_scales if router == "per_scale" else 1
            self.router = nn.Linear(dim, num_routers * num_routed, bias=False)
        self.down = nn.Linear(dim, num_experts * expert_dim)  # all experts, concatenated
        # A column for each hidden unit, then one for the bias of each expert, scaled by its gate.
        # In this layout both products are those of nn.Linear: fast in bfloat16 and in float32.
        self.out = nn.Parameter(torch.zeros(dim, num_experts * (expert_dim + 1)))
        bound = 1 / math.sqrt(dim)
        nn.init.uniform_(self.down.weight, -bound, bound)
        nn.init.zeros_(self.down.bias)
        # Router probabilities of the last forward pass in training, for the balance loss.
        self.probs_BNR: Tensor | None = None

    def probabilities(self, x_BND: Tensor) -> Tensor:
        """The router's softmax over all routed experts, (B, N, R) in float32."""
        if self.kind == "static":
            logits_BNR = self.choice_R.float().expand(*x_BND.shape[:-1], -1)
        else:
            router_RD = self.router.weight
            if self.kind == "per_scale":
                router_RD = router_RD.unflatten(0, (-1, self.num_routed))[self.scale_index]
            logits_BNR = F.linear(x_BND.float(), router_RD.float())
        return logits_BNR.softmax(dim=-1)

    def route(self, x_BND: Tensor) -> Tensor:
        """Weight of each routed expert for each token: (B, N, R), zero if it was not chosen."""
        return self._keep_top(self.probabilities(x_BND))

    def forward(self, x_BND: Tensor) -> Tensor:
        probs_BNR = self.probabilities(x_BND)
        self.probs_BNR = probs_BNR if self.training and torch.is_grad_enabled() else None
        gate_BNE = self._keep_top(probs_BNR).to(x_BND.dtype)
        if self.num_shared:
            gate_BNE = F.pad(gate_BNE, (0, self.num_shared), value=1.0)
        hidden_BNEH = F.gelu(self.down(x_BND)).unflatten(-1, (-1, self.expert_dim))
        hidden = (hidden_BNEH * gate_BNE[..., None]).flatten(start_dim=-2)
        return F.linear(torch.cat([hidden, gate_BNE], dim=-1), self.out)

    def _keep_top(self, probs_BNR: Tensor) -> Tensor:
        top_BNK, chosen_BNK = probs_BNR.topk(self.num_active, dim=-1)
        if self.renormalise:
            top_BNK = top_BNK / top_BNK.sum(dim=-1, keepdim=True)
        return torch.zeros_like(probs_BNR).scatter(-1, chosen_BNK, top_BNK)

    @property
    def up(self) -> Tensor:
        """Up-projections of all experts, (E * H, D)."""
        return self.out[:, : self.down.out_features].T

    @property
    def up_bias(self) -> Tensor:
        """Their biases, (E, D)."""
        return self.out[:, self.down.out_features :].T

    def input_weights(self) -> list[Tensor]:
        """The weights that multiply the input."""
        return (
            [self.down.weight] if self.kind == "static" else [self.down.weight, self.router.weight]
        )

    def active_parameters(self) -> int:
        """Parameters that a token uses: those of the router and of the experts it is sent to."""
        dim = self.out.shape[0]
        router = self.num_routed * (1 if self.kind == "static" else dim)
        expert = 2 * dim * self.expert_dim + self.expert_dim + dim
        return router + (self.num_active + self.num_shared) * expert

    def extra_repr(self) -> str:
        return (
            f"routed={self.num_routed}, active={self.num_active}, shared={self.num_shared},"
            f" expert_dim={self.expert_dim}"
        )


def balance_loss(
    probs_BNR: Tensor, num_active: int, padding_mask_BN: Tensor | None = None
) -> Tensor:
    """How unevenly the router uses its experts: R * sum_n f_n P_n (L_B in MoME §3.2).

    f_n is the share of the tokens of a row that are sent to expert n, counting all `num_active`
    choices; P_n is the mean probability of n. A row holds the tokens of an utterance or, flattened,
    those of a batch. The result is a mean over rows, `num_active` for a balanced load. Padding,
    where `padding_mask_BN` is False, does not count.
    """
    R = probs_BNR.shape[-1]
    chosen_BNR = torch.zeros_like(probs_BNR)
    chosen_BNR.scatter_(-1, probs_BNR.topk(num_active, dim=-1).indices, 1.0)
    if padding_mask_BN is None:
        padding_mask_BN = torch.ones_like(probs_BNR[..., 0])
    weight_BN1 = (padding_mask_BN / padding_mask_BN.sum(dim=1, keepdim=True))[..., None].to(
        probs_BNR.dtype
    )
    share_BR = (chosen_BNR * weight_BN1).sum(dim=1)
    mean_BR = (probs_BNR * weight_BN1).sum(dim=1)
    return R * (share_BR * mean_BR).sum(dim=-1).mean()

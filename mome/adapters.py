"""The adapters of a configuration, attached to the blocks of an LLM: MoME, LoRA or a plain one.

The plain adapter is one expert that sees every token, without a router (MoME Table 3, first row). A
mixture of experts is compared with it: it has the same width and makes no choice.

Shape key
    B  batch    N  tokens    D  width of the LLM    H  bottleneck
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mome.config import ModelConfig
from mome.experts import MoME
from mome.inject import adapters, decoder_layers, inject
from mome.lora import LoRA


class Plain(nn.Module):
    """Linear(D -> H) - GELU - Linear(H -> D); at first a no-op, since the second layer is zero."""

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

    def input_weights(self) -> list[Tensor]:
        """The weights that multiply the input."""
        return [self.down.weight]

    def active_parameters(self) -> int:
        """Parameters that a token uses: all of them."""
        return sum(p.numel() for p in self.parameters())


def attach_adapters(llm: Any, config: ModelConfig, num_scales: int) -> int:
    """Freeze `llm` and give it the adapters that `config` asks for. Returns their number."""
    dim = llm.config.hidden_size

    def lora(in_dim: int, out_dim: int) -> LoRA:
        rank, alpha, form = config.lora_rank, config.lora_alpha, config.lora_form
        start = "peers" if config.adapter_init == "peers" else "uniform"
        return LoRA(in_dim, out_dim, rank, alpha, form, num_scales, start)

    def plain() -> Plain:
        return Plain(dim, config.plain_dim)

    def mome() -> MoME:
        return MoME(
            dim,
            config.num_routed,
            config.num_active,
            config.num_shared,
            config.expert_dim,
            config.renormalise,
            config.router,
            num_scales,
        )

    make: dict[str, Callable[..., nn.Module]] = {"lora": lora, "plain": plain, "mome": mome}
    position = "q_v" if config.adapter == "lora" else config.position
    count = inject(llm, position, make[config.adapter])
    with torch.no_grad():
        for layer in decoder_layers(llm):
            scale_input_weights(layer, config)
    return count


def scale_input_weights(layer: Any, config: ModelConfig) -> None:
    """Set how large the first weights of a layer's adapters are (the paper does not say).

    The input of an adapter has passed a norm of the LLM, whose weights may be small: 0.05 to 0.4 in
    SmolLM2-135M. With the usual first weights of a linear layer, hidden units then stay near zero,
    and so do the gradients of the up-projection. `adapter_init: unit` compensates for the norm.
    With `peers`, which is for LoRA alone, the first weights are zero (see mome/lora.py).
    """
    ffn = config.position == "ffn" and config.adapter != "lora"
    norm = layer.post_attention_layernorm if ffn else layer.input_layernorm
    gain = 1.0
    if config.adapter_init == "unit":  # uniform in +-1/sqrt(D) gives a third of the variance
        gain = math.sqrt(3) / norm.weight.float().square().mean().sqrt()
    for adapter in adapters(layer):
        for weight in adapter.input_weights():
            weight.mul_(gain)
        if config.adapter == "mome" and config.router != "static":
            adapter.router.weight.mul_(config.router_gain)


def has_parts_per_scale(config: ModelConfig) -> bool:
    """Whether the adapter has parts for each scale, so that it serves only trained scales."""
    if config.adapter == "lora":
        return config.lora_form != "ms"
    return config.adapter == "mome" and config.router == "per_scale"

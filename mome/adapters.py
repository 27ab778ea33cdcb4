"""The adapter of a configuration beside the blocks of an LLM: MoME, LoRA or a plain one."""

from torch import nn

from mome.config import ModelConfig
from mome.experts import MoME
from mome.inject import inject
from mome.lora import LoRA
from mome.plain import Plain


def attach(llm: nn.Module, config: ModelConfig, num_scales: int) -> int:
    """Freeze `llm` and give it the adapters that `config` asks for. Returns how many."""
    dim = llm.config.hidden_size
    if config.adapter == "lora":

        def make(in_dim: int, out_dim: int) -> LoRA:
            return LoRA(
                in_dim, out_dim, config.lora_rank, config.lora_alpha, config.lora_form, num_scales
            )

        return inject(llm, "q_v", make)
    if config.adapter == "plain":
        return inject(llm, config.position, lambda: Plain(dim, config.plain_dim))
    return inject(
        llm,
        config.position,
        lambda: MoME(
            dim,
            config.num_routed,
            config.num_active,
            config.num_shared,
            config.expert_dim,
            config.renormalise,
            config.router,
            num_scales,
        ),
    )


def has_parts_per_scale(config: ModelConfig) -> bool:
    """Whether the adapter can be used at the scales it was trained at alone."""
    if config.adapter == "lora":
        return config.lora_form != "ms"
    return config.adapter == "mome" and config.router == "per_scale"

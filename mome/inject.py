"""Attach adapters to blocks of each layer of a frozen Hugging Face LLM (MoME §3.2, Fig. 7).

The classes and weights of the LLM stay as they are. An adapter becomes a child of the block, named
"adapter", and a forward hook adds the adapter's output to the block's output.

| position | input of the adapter       | its output is added to                          |
|----------|----------------------------|-------------------------------------------------|
| mhsa     | input_layernorm(x)         | the attention output, before the residual sum   |
| ffn      | post_attention_layernorm(h)| the FFN output, before the residual sum         |
| layer    | input_layernorm(x)         | the output of the whole layer                   |
| q_v      | input_layernorm(x)         | the queries; a second adapter's, to the values  |
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

# Position in a decoder layer -> the blocks that get an adapter ("" = the layer itself).
BLOCKS = {
    "mhsa": ["self_attn"],
    "ffn": ["mlp"],
    "layer": [""],
    "q_v": ["self_attn.q_proj", "self_attn.v_proj"],
}


def inject(llm: nn.Module, position: str, make_adapter: Callable[..., nn.Module]) -> int:
    """Freeze `llm` and give every decoder layer new adapters. Returns the number of adapters.

    `make_adapter()` makes one adapter; at `q_v` it is called with the widths of the linear layer,
    `make_adapter(in_dim, out_dim)`. Raises ValueError for an unknown position, for an LLM of
    another layout, and for an LLM that has adapters.
    """
    if position not in BLOCKS:
        raise ValueError(f"position must be one of {', '.join(BLOCKS)}; got {position!r}")
    if adapters(llm):
        raise ValueError("this LLM has adapters already: load it again without them")
    layers = decoder_layers(llm)
    llm.requires_grad_(False)
    device = next(llm.parameters()).device
    count = 0
    for layer in layers:
        for name in BLOCKS[position]:
            block = layer.get_submodule(name)
            dims = (block.in_features, block.out_features) if position == "q_v" else ()
            hook = _add_to_layer if position == "layer" else _add_to_block
            attach(block, make_adapter(*dims).to(device), hook)
            if position == "layer":
                layer.get_submodule("input_layernorm").register_forward_hook(_keep)
            count += 1
    return count


def set_scale(llm: nn.Module, index: int) -> None:
    """Set the scale of the next forward passes: its place in the model's list of scales.

    Adapters that have a part for each scale read it; the others ignore it.
    """
    for adapter in adapters(llm):
        adapter.scale_index = index


@contextlib.contextmanager
def at_scale(llm: nn.Module, index: int) -> Iterator[None]:
    """Forward passes in the block are at this scale; afterwards, the adapters' own is back."""
    found = [(adapter, getattr(adapter, "scale_index", 0)) for adapter in adapters(llm)]
    set_scale(llm, index)
    try:
        yield
    finally:
        for adapter, before in found:
            adapter.scale_index = before


def adapters(llm: nn.Module) -> list[Any]:
    """The adapters in a module, those of the first layer first."""
    return [m for name, m in llm.named_modules() if name.split(".")[-1] == "adapter"]


def decoder_layers(llm: nn.Module) -> nn.ModuleList:
    """The decoder layers of an LLM with Llama's layout; ValueError for another layout."""
    layers = getattr(getattr(llm, "model", None), "layers", None)
    if layers is None:
        raise ValueError(
            f"{type(llm).__name__} has no `model.layers`, the list of decoder layers that models"
            " like Llama, Qwen and SmolLM have: adapters cannot be attached"
        )
    for name in ("self_attn", "mlp", "input_layernorm", "post_attention_layernorm"):
        if not hasattr(layers[0], name):
            raise ValueError(
                f"a layer of {type(llm).__name__} has no `{name}`: adapters cannot be attached"
            )
    return layers


def _input(args: tuple, kwargs: dict) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _add_to_block(block: Any, args: tuple, kwargs: dict, output):
    return _add(output, block.adapter(_input(args, kwargs)))


def _keep(norm: Any, args: tuple, output: Tensor) -> None:
    norm.kept = output  # until the layer ends, so that the norm is not computed twice


def _add_to_layer(layer: Any, args: tuple, kwargs: dict, output):
    return _add(output, layer.adapter(layer.input_layernorm.__dict__.pop("kept")))


def _add(output, extra: Tensor):
    if isinstance(output, tuple):  # attention returns (hidden states, weights)
        return (output[0] + extra, *output[1:])
    return output + extra


def attach(block: nn.Module, adapter: nn.Module, hook: Callable = _add_to_block) -> None:
    """Make `adapter` a child of `block`; the block's output becomes the sum of both outputs."""
    block.adapter = adapter
    block.register_forward_hook(hook, with_kwargs=True)

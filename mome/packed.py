"""Linear layers of a frozen LLM on a CPU, whose weights are prepared once for the matrix product.

For every product, oneDNN copies the weights into blocks that suit the CPU. With few tokens this
takes as long as the product itself. The weights of a frozen LLM never change, so here they are kept
in blocks, once for the forward and, in training, once for the backward pass. Outputs and gradients
are those of `nn.Linear`: equal in bfloat16, to rounding in float32. Names and weights of the layers
stay as they are.
"""

import math
import platform
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

MOST_BYTES = 2 << 30  # of the weights of an LLM; in training they are then held three times

# Kept outside the layers, which can so be copied and saved as before.
_blocks: "weakref.WeakKeyDictionary[nn.Linear, _Blocks]" = weakref.WeakKeyDictionary()


def pack(llm: Any) -> Any:
    """Freeze an LLM and turn its linear layers into packed ones. Returns the LLM.

    None are packed when this CPU has no such product or when they take more than MOST_BYTES.
    Quantised layers, those with a bias, and those on a GPU or the meta device are left alone.
    """
    llm.requires_grad_(False)
    layers = [m for m in llm.modules() if type(m) is nn.Linear and can_pack(m)]
    if sum(layer.weight.nbytes for layer in layers) <= MOST_BYTES:
        for layer in layers:
            layer.__class__ = PackedLinear
    return llm


def can_pack(layer: nn.Linear) -> bool:
    """Whether a frozen layer is of a kind that oneDNN multiplies on this CPU."""
    weight = layer.weight
    return (
        platform.machine() in ("x86_64", "AMD64")  # where it was tried
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and weight.device.type == "cpu"
        and layer.bias is None
        and (
            weight.dtype == torch.float32
            or (weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
        )
    )


class PackedLinear(nn.Linear):
    """As `nn.Linear` without a bias, for weights that are frozen."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        known = x.dtype == weight.dtype and x.device.type == weight.device.type == "cpu"
        # ZeRO 3 holds a part of the weights alone, and gathers them for each product.
        if not known or not x.numel() or weight.requires_grad or hasattr(weight, "ds_id"):
            return super().forward(x)
        if x.requires_grad and torch.is_grad_enabled():
            return _Product.apply(x, self)
        return _multiply(x, _blocks_of(self).forward)


class _Product(torch.autograd.Function):
    """x @ weight.T, where the weight gets no gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, layer: nn.Linear) -> Tensor:
        ctx.layer = layer
        return _multiply(x, _blocks_of(layer).forward)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _multiply(grad, _blocks_of(ctx.layer).backward), None


class _Blocks:
    """The weights of a layer in blocks, made when they are first used."""

    def __init__(self, weight: Tensor):
        self.state = _state_of(weight)
        self.weight = weight.detach()
        self._forward: Tensor | None = None
        self._backward: Tensor | None = None

    @property
    def forward(self) -> Tensor:
        if self._forward is None:
            self._forward = _in_blocks(self.weight)
        return self._forward

    @property
    def backward(self) -> Tensor:
        if self._backward is None:
            self._backward = _in_blocks(self.weight.T.contiguous())
        return self._backward


def _blocks_of(layer: nn.Linear) -> _Blocks:
    """The blocks of a layer, made anew when its weights have changed."""
    blocks = _blocks.get(layer)
    if blocks is None or blocks.state != _state_of(layer.weight):
        blocks = _blocks[layer] = _Blocks(layer.weight)
    return blocks


def _state_of(weight: Tensor) -> tuple:
    """Changes when the weights do."""
    return weight.data_ptr(), weight.dtype, 0 if weight.is_inference() else weight._version


@torch.no_grad()
def _in_blocks(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def _multiply(x: Tensor, blocks: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), blocks, None, "none", [], "")


if hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # for PyTorch's FlopCounterMode

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _flops(x_shape: torch.Size, *_: Any, out_shape: torch.Size, **__: Any) -> int:
        return 2 * x_shape[-1] * math.prod(out_shape)

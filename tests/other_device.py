"""A device that is not the CPU, on any machine: what code for GPUs gets wrong shows here.

A tensor on it is a `There`, which holds a tensor of the CPU and does what that does. An operation
that mixes both devices is an error, as on a GPU; `waits` lists those that make the host wait for
the device. Run as a program, by tests/test_other_device.py: the device stays for the whole process.
"""

from typing import Any
from unittest import mock

import torch
from conftest import WordTokenizer, baby_model, random_batch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from mome import decoding
from mome.compression import Scale
from mome.config import DecodeConfig
from mome.data.dataset import to_device
from mome.model import MoMEModel

_setup_privateuseone_for_python_backend("other")
DEVICE = torch.device("other", 0)
MAY_MIX = {"copy_", "_to_copy", "index", "index_put_", "_index_put_impl_"}  # as with CUDA
waits: list[str] = []


class There(Tensor):
    """A tensor on the other device; `here` is the one on the CPU that it stands for."""

    here: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: Tensor):
        layout = {"strides": here.stride(), "storage_offset": here.storage_offset()}
        there = Tensor._make_wrapper_subclass(
            cls, here.shape, dtype=here.dtype, device=DEVICE, **layout
        )
        there.here = here
        return there

    def tolist(self) -> list:
        waits.append("tolist")
        return self.here.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Dispatch(TorchDispatchMode):
    """Also sees operations without a tensor of the device, such as torch.zeros(device=...)."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def to_here(x: Any) -> Any:
    if isinstance(x, There):
        return x.here
    return torch.device("cpu") if isinstance(x, torch.device) and x.type == "other" else x


def run(func: Any, args: tuple, kwargs: dict) -> Any:
    """Do an operation on the CPU; its result is on the device that a GPU's would be on."""
    flat, _ = tree_flatten((args, kwargs))
    there = [x for x in flat if isinstance(x, There)]
    here = [x for x in flat if isinstance(x, Tensor) and not isinstance(x, There) and x.dim()]
    name = func.overloadpacket.__name__
    if there and here and name not in MAY_MIX:
        raise RuntimeError(f"{name} got tensors of two devices")
    target = kwargs.get("device")
    if there and (name == "_local_scalar_dense" or (target and target.type == "cpu")):
        waits.append(name)
    is_there = target.type == "other" if target else bool(there)
    if name == "copy_":
        is_there = isinstance(args[0], There)
        if there and not is_there:
            waits.append(name)
    result = func(*tree_map(to_here, args), **tree_map(to_here, kwargs))
    known = {id(x.here): x for x in there}  # an operation in place returns its argument

    def wrap(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return known[id(x)] if id(x) in known else There(x)

    return tree_map(wrap, result) if is_there else result


def empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    return There(torch.empty_strided(size, stride, dtype=dtype))


def copy_from(source, target, non_blocking=False):
    to_here(target).copy_(to_here(source))
    return target


# torch.tensor(..., device=...) calls these below the dispatcher's Python.
library = torch.library.Library("aten", "IMPL")
library.impl("empty_strided", empty_strided, "PrivateUse1")
library.impl("_copy_from", copy_from, "PrivateUse1")


def step(model: MoMEModel, batch: dict) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of a training step."""
    model.zero_grad()
    loss = model.train()(**batch)[0]
    loss.backward()
    return loss.item(), {name: p.grad.cpu() for name, p in model.trained().items()}


def text(model: MoMEModel, batch: dict) -> list[str]:
    search = DecodeConfig(num_beams=3, extra_tokens=3, tokens_per_second=2)
    with torch.no_grad():  # wrapped tensors cannot be in inference mode
        with mock.patch.object(decoding, "find_texts", decoding.find_texts.__wrapped__):
            undecorated = decoding.decode_scored.__wrapped__
            found = undecorated(model, WordTokenizer(), batch, Scale.parse("a4_v2"), search)
        return [hypothesis.text for hypothesis in found]


def check(**system: Any) -> int:
    """The same loss, gradients and text on both devices; how often a forward pass has to wait."""
    model, batch = baby_model(**system), random_batch()
    model.llm.set_attn_implementation(system.get("attention", "sdpa"))
    loss, gradients = step(model, batch)
    texts = text(model, batch)
    with Dispatch():
        model.to(DEVICE)
        batch = to_device(batch, DEVICE)
        waits.clear()
        model.train()(**batch)
        num_waits = len(waits)
        other_loss, other_gradients = step(model, batch)
        assert text(model, batch) == texts
    assert abs(other_loss - loss) < 1e-5 * loss
    for name, gradient in gradients.items():
        torch.testing.assert_close(to_here(other_gradients[name]), gradient, msg=name)
    return num_waits


if __name__ == "__main__":
    for attention in ("sdpa", "eager"):
        for position in ("layer", "mhsa", "ffn"):
            # A pass at each scale, in which transformers waits once; and the three lengths.
            num_waits = check(position=position, attention=attention)
            assert num_waits <= 4 + 3, waits
    check(adapter="lora")
    check(compression="stack", projector="per_rate")
    try:
        with Dispatch():
            torch.ones(2, device=DEVICE) + torch.ones(2)
    except RuntimeError as error:
        assert "two devices" in str(error)
    else:
        raise AssertionError("tensors of two devices were added")
    print("the same on both devices")

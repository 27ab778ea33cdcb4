"""Packed linear layers: the products of `nn.Linear`, for weights that are frozen."""

import copy

import pytest
import torch
from conftest import baby_llm
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mome import packed
from mome.packed import PackedLinear, pack


def layer_of(dtype=torch.float32):
    """A linear layer and its packed copy; skips where the CPU has no product of this kind."""
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=False, dtype=dtype).requires_grad_(False)
    both = nn.ModuleList([copy.deepcopy(layer)])
    if not isinstance(pack(both)[0], PackedLinear):
        pytest.skip(f"oneDNN multiplies no {dtype} on this CPU")
    return layer, both[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(24,), (1, 24), (7, 24), (3, 5, 24), (2, 300, 24), (0, 24)])
def test_outputs_and_gradients_are_those_of_a_linear_layer(dtype, shape):
    layer, ours = layer_of(dtype)
    x = torch.randn(shape, dtype=dtype)
    weight = torch.randn(*shape[:-1], 40, dtype=dtype)
    found = []
    for module in (layer, ours):
        y = x.clone().requires_grad_()
        (module(y) * weight).sum().backward()
        found.append((module(x), module(y), y.grad))
    for theirs, mine in zip(*found, strict=True):
        assert mine.shape == theirs.shape and mine.dtype == dtype
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_inputs_and_gradients_need_not_be_contiguous():
    layer, ours = layer_of()
    grads = []
    for module in (layer, ours):
        x = torch.arange(24.0 * 6).view(24, 6).requires_grad_()
        module(x.T).T.square().sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-5, atol=1e-2)


def test_changed_weights_count_at_once():
    layer, ours = layer_of()
    x = torch.randn(3, 24)
    before = ours(x)
    ours.load_state_dict({"weight": 2 * layer.weight})
    torch.testing.assert_close(ours(x), 2 * before)
    with torch.inference_mode():
        ours.weight.mul_(0.5)
        torch.testing.assert_close(ours(x), before)
    ours.weight.data = torch.zeros(40, 24)
    assert not ours(x).any()


def test_copies_and_checkpoints_are_those_of_a_linear_layer(tmp_path):
    layer, ours = layer_of()
    ours(torch.randn(3, 24))
    copied = copy.deepcopy(ours)
    assert list(ours.state_dict()) == ["weight"] and copied.weight is not ours.weight
    torch.save(ours, tmp_path / "layer.pt")
    loaded = torch.load(tmp_path / "layer.pt", weights_only=False)
    x = torch.randn(3, 24)
    for module in (copied, loaded):
        torch.testing.assert_close(module(x), layer(x), rtol=1e-5, atol=1e-5)


def test_weights_that_are_trained_after_all_get_their_gradient():
    _, ours = layer_of()
    ours.weight.requires_grad_(True)
    ours(torch.ones(3, 24)).sum().backward()
    torch.testing.assert_close(ours.weight.grad, torch.full((40, 24), 3.0))


def test_pytorch_counts_their_operations():
    totals = []
    for module in layer_of():
        x = torch.randn(2, 5, 24, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            module(x).sum().backward()
        totals.append(counter.get_total_flops())
    assert totals[0] == totals[1] == 2 * (2 * 2 * 5 * 24 * 40)


def test_an_input_of_another_precision_is_an_error_as_usual():
    _, ours = layer_of()
    with pytest.raises(RuntimeError, match="dtype"):
        ours(torch.randn(3, 24, dtype=torch.float64))


def test_an_llm_is_packed_whole_unless_it_is_large(monkeypatch):
    layer_of()
    x, outputs = torch.randn(2, 9, baby_llm().config.hidden_size), []
    for most in (packed.MOST_BYTES, 1000):
        monkeypatch.setattr(packed, "MOST_BYTES", most)
        llm = pack(baby_llm())
        kinds = {type(m) for m in llm.modules() if isinstance(m, nn.Linear)}
        assert kinds == ({nn.Linear} if most == 1000 else {PackedLinear})
        assert not any(p.requires_grad for p in llm.parameters())
        outputs.append(llm(inputs_embeds=x).logits)
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


def test_other_layers_are_left_alone():
    modules = [
        nn.Linear(4, 4),
        nn.Linear(4, 4, bias=False, device="meta"),
        nn.Linear(4, 4, bias=False, dtype=torch.float64),
        nn.modules.linear.NonDynamicallyQuantizableLinear(4, 4, bias=False),
    ]
    assert not any(isinstance(m, PackedLinear) for m in pack(nn.ModuleList(modules)))

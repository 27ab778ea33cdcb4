import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from mome.lora import LoRA


def awake(**settings) -> LoRA:
    torch.manual_seed(0)
    lora = LoRA(6, 8, rank=3, alpha=5.0, **settings)
    nn.init.normal_(lora.b_POK)
    return lora


def test_it_equals_peft_on_the_same_weights():
    lora, x = awake(), torch.randn(2, 4, 6)
    net = nn.Sequential(nn.Linear(6, 8))
    frozen = net[0]
    peft = get_peft_model(net, LoraConfig(r=3, lora_alpha=5.0, target_modules=["0"]))
    layer = peft.base_model.model[0]
    layer.lora_A["default"].weight.data = lora.a_PKI[0].data.clone()
    layer.lora_B["default"].weight.data = lora.b_POK[0].data.clone()
    torch.testing.assert_close(frozen(x) + lora(x), peft(x))


@pytest.mark.parametrize("form, pairs", [("ms", [0]), ("ss", [2]), ("mss", [0, 3])])
def test_a_form_is_the_sum_of_its_pairs(form, pairs):
    lora, x = awake(form=form, num_scales=4), torch.randn(2, 4, 6)
    lora.scale_index = 2
    expected = sum(x @ lora.a_PKI[p].T @ lora.b_POK[p].T for p in pairs) * 5 / 3
    torch.testing.assert_close(lora(x), expected)
    assert lora.active_parameters() == len(pairs) * (3 * 6 + 3 * 8)


@pytest.mark.parametrize("form", ["ms", "mss"])
@pytest.mark.parametrize("start, zero", [("uniform", "b_POK"), ("peers", "a_PKI")])
def test_a_fresh_one_adds_nothing_and_one_of_the_pair_is_kaiming_uniform(start, zero, form):
    lora = LoRA(600, 800, 30, 5.0, form, num_scales=2, start=start)
    assert not lora(torch.randn(2, 4, 600)).any()
    weights = dict(lora.named_parameters())
    assert not weights.pop(zero).any()
    (weight,) = weights.values()
    for pair in weight:  # uniform in +-1/sqrt(width of the input), drawn anew for each pair
        assert pair.abs().max().item() == pytest.approx(pair.shape[1] ** -0.5, rel=0.01)
        assert pair.std().item() == pytest.approx((3 * pair.shape[1]) ** -0.5, rel=0.02)
    assert len(weight) == 1 or not torch.equal(weight[0], weight[1])


def test_with_the_start_of_the_peers_the_first_step_moves_the_output_farther():
    moved = {}
    for start in ("uniform", "peers"):
        torch.manual_seed(0)
        lora, x = LoRA(256, 256, 8, 1.0, start=start), torch.randn(20, 256)
        optimizer = torch.optim.AdamW(lora.parameters(), 1e-3)
        (lora(x) * torch.randn(20, 256)).sum().backward()
        optimizer.step()
        moved[start] = lora(x).norm().item()
    assert moved["peers"] > 2 * moved["uniform"] > 0


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="form must be one of ms, ss, mss; got 'sm'"):
        LoRA(6, 8, 3, 5.0, form="sm")
    with pytest.raises(ValueError, match="rank must be 1 or more, got 0"):
        LoRA(6, 8, 0, 5.0)
    with pytest.raises(ValueError, match="start must be one of uniform, peers; got 'zero'"):
        LoRA(6, 8, 3, 5.0, start="zero")

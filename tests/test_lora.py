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


def test_a_fresh_one_adds_nothing():
    assert not LoRA(6, 8, 3, 5.0)(torch.randn(2, 4, 6)).any()


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="form must be one of ms, ss, mss; got 'sm'"):
        LoRA(6, 8, 3, 5.0, form="sm")
    with pytest.raises(ValueError, match="rank must be 1 or more, got 0"):
        LoRA(6, 8, 0, 5.0)

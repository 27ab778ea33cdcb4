"""The adapters of a configuration, and the plain one."""

import pytest
import torch
from conftest import baby_llm

from mome.adapters import Plain, attach_adapters, has_parts_per_scale
from mome.config import ModelConfig
from mome.experts import MoME
from mome.inject import adapters
from mome.lora import LoRA


@pytest.mark.parametrize(
    "settings, kind, count",
    [
        ({"adapter": "mome", "position": "layer"}, MoME, 2),
        ({"adapter": "plain", "position": "ffn"}, Plain, 2),
        ({"adapter": "lora", "lora_form": "mss"}, LoRA, 4),  # on queries and on values
    ],
)
def test_each_layer_gets_the_adapters_of_the_configuration(settings, kind, count):
    llm = baby_llm()
    assert attach_adapters(llm, ModelConfig(llm="baby", **settings), num_scales=3) == count
    assert [type(adapter) for adapter in adapters(llm)] == [kind] * count
    trained = {name for name, p in llm.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in llm.named_parameters() if ".adapter." in name}


def test_the_router_gain_multiplies_the_first_weights_of_the_router_alone():
    weights = []
    for gain in (1.0, 3.0):
        llm = baby_llm()
        attach_adapters(llm, ModelConfig(llm="baby", router_gain=gain), num_scales=1)
        weights.append({name: p.clone() for name, p in adapters(llm)[0].named_parameters()})
    for name, weight in weights[0].items():
        factor = 3.0 if name == "router.weight" else 1.0
        torch.testing.assert_close(weights[1][name], factor * weight)


@pytest.mark.parametrize(
    "init, zero", [("uniform", "b_POK"), ("unit", "b_POK"), ("peers", "a_PKI")]
)
def test_lora_starts_as_the_configuration_says(init, zero):
    llm = baby_llm()
    attach_adapters(llm, ModelConfig(llm="baby", adapter="lora", adapter_init=init), num_scales=1)
    for adapter in adapters(llm):
        empty = {name for name, p in adapter.named_parameters() if not p.any()}
        assert empty == {zero}


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, False),
        ({"router": "static"}, False),
        ({"router": "per_scale"}, True),
        ({"adapter": "plain"}, False),
        ({"adapter": "lora"}, False),
        ({"adapter": "lora", "lora_form": "ss"}, True),
        ({"adapter": "lora", "lora_form": "mss"}, True),
    ],
)
def test_adapters_with_parts_for_each_scale_are_known(settings, expected):
    assert has_parts_per_scale(ModelConfig(llm="baby", **settings)) is expected


def test_it_is_mome_with_a_shared_expert_alone():
    torch.manual_seed(0)
    plain, mome, x = Plain(6, 5), MoME(6, 1, 1, 1, 5), torch.randn(2, 4, 6)
    with torch.no_grad():
        torch.nn.init.normal_(plain.up.weight)
        torch.nn.init.normal_(plain.up.bias)
        mome.down.weight[5:], mome.down.bias[5:] = plain.down.weight, plain.down.bias
        mome.up[5:], mome.up_bias[1] = plain.up.weight.T, plain.up.bias  # the routed one stays 0
    torch.testing.assert_close(plain(x), mome(x))
    assert plain.active_parameters() == 2 * 6 * 5 + 5 + 6


def test_a_fresh_one_adds_nothing():
    assert not Plain(6, 5)(torch.randn(2, 4, 6)).any()


def test_no_width_is_refused():
    with pytest.raises(ValueError, match="bottleneck must be 1 or more, got 0"):
        Plain(6, 0)

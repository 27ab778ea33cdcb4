import pytest
import torch
from conftest import baby_llm

from mome.experts import MoME
from mome.inject import adapters, at_scale, inject, set_scale

POSITIONS = ["mhsa", "ffn", "layer"]


def make() -> MoME:
    return MoME(16, 4, 2, 1, 3)


def wake(llm) -> None:
    torch.manual_seed(1)
    for adapter in adapters(llm):
        torch.nn.init.normal_(adapter.up, std=0.3)
        torch.nn.init.normal_(adapter.up_bias, std=0.3)


@pytest.mark.parametrize("position", POSITIONS)
def test_fresh_adapters_leave_the_llm_as_it_is_bit_for_bit(position):
    llm, ids = baby_llm(), torch.arange(8)[None]
    before = llm(ids).logits
    assert inject(llm, position, make) == 2
    assert torch.equal(llm(ids).logits, before)
    wake(llm)
    assert not torch.allclose(llm(ids).logits, before)


@pytest.mark.parametrize("position", POSITIONS)
def test_gradients_reach_the_adapters_alone(position):
    llm, ids = baby_llm(), torch.arange(8)[None]
    inject(llm, position, make)
    wake(llm)
    llm(ids, labels=ids).loss.backward()
    trained = {n for n, p in llm.named_parameters() if p.grad is not None}
    assert trained == {n for n, _ in llm.named_parameters() if ".adapter." in n}


@pytest.mark.parametrize("position", POSITIONS)
def test_output_equals_a_layer_written_out(position):
    llm, ids = baby_llm(layers=1), torch.arange(8)[None]
    inject(llm, position, make)
    wake(llm)
    layer, adapter = llm.model.layers[0], adapters(llm)[0]
    x = llm.model.embed_tokens(ids)
    rope = llm.model.rotary_emb(x, torch.arange(8)[None])
    mask = torch.full((8, 8), float("-inf")).triu(1)[None, None]
    attend = type(layer.self_attn).forward  # the class's own, without hooks
    seen = layer.input_layernorm(x)
    attended = attend(layer.self_attn, seen, position_embeddings=rope, attention_mask=mask)[0]
    h = x + attended + (adapter(seen) if position == "mhsa" else 0)
    fed = layer.post_attention_layernorm(h)
    mlp = layer.mlp
    forward = mlp.down_proj(mlp.act_fn(mlp.gate_proj(fed)) * mlp.up_proj(fed))
    out = h + forward + (adapter(fed) if position == "ffn" else 0)
    out = out + (adapter(seen) if position == "layer" else 0)
    logits = llm.lm_head(llm.model.norm(out))
    torch.testing.assert_close(llm(ids).logits, logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
def test_generation_with_cache_equals_generation_without(position):
    llm, ids = baby_llm(), torch.arange(8)[None]
    inject(llm, position, make)
    wake(llm)
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    cached = llm.generate(ids, use_cache=True, **settings)
    assert torch.equal(cached, llm.generate(ids, use_cache=False, **settings))


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(ValueError, match="mhsa, ffn, layer, q_v; got 'mlp'"):
        inject(baby_llm(), "mlp", make)
    with pytest.raises(ValueError, match=r"no `model.layers`"):
        inject(torch.nn.Linear(2, 2), "ffn", make)
    llm = baby_llm()
    inject(llm, "ffn", make)
    with pytest.raises(ValueError, match="has adapters already"):
        inject(llm, "ffn", make)


def test_the_scale_of_a_block_ends_with_it_even_after_an_error():
    llm = baby_llm()
    inject(llm, "ffn", lambda: MoME(16, 3, 1, 0, 2))
    set_scale(llm, 2)
    with at_scale(llm, 1):
        assert {adapter.scale_index for adapter in adapters(llm)} == {1}
    with pytest.raises(RuntimeError), at_scale(llm, 0):
        raise RuntimeError
    assert {adapter.scale_index for adapter in adapters(llm)} == {2}

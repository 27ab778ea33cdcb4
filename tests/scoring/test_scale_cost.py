"""Tokens and operations by scale: against the true sequences, PyTorch's counter and the paper."""

import pytest
import torch
from conftest import WordTokenizer, baby_model, random_batch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, Qwen3Config

from mome.compression import Scale
from mome.config import DecodeConfig, ModelConfig
from mome.decoding import decode
from mome.inject import adapters
from mome.scoring import cost, scale_cost

DIMS = {"audio": 8, "video": 6}
SHAPE = LlamaConfig(
    vocab_size=50, hidden_size=32, intermediate_size=80, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2,
)  # fmt: skip
ADAPTERS = {
    "mome": {"num_routed": 5, "num_active": 2, "expert_dim": 3},
    "mome, a router per scale": {"num_routed": 5, "num_active": 2, "router": "per_scale"},
    "mome, static": {"num_routed": 5, "num_active": 2, "router": "static", "num_shared": 0},
    "lora": {"adapter": "lora", "lora_rank": 4},
    "lora mss": {"adapter": "lora", "lora_rank": 4, "lora_form": "mss"},
    "plain": {"adapter": "plain", "plain_dim": 7},
}


def built(shape=SHAPE, device="cpu", **config):
    """A model with random weights, and attention that PyTorch's counter sees on a CPU."""
    config = ModelConfig(attention="eager", projector_dim=12, **config)
    return scale_cost.build(config, shape, DIMS, WordTokenizer(), device, torch.float32)


def counted(call) -> int:
    """Operations of a call without the rotary embedding's outer products, which are left out."""
    with FlopCounterMode(display=False) as counter:
        call()
    total = 0
    for module, operators in counter.get_flop_counts().items():
        if module == "Global":
            total += sum(operators.values())
        elif module.endswith("rotary_emb"):
            total -= sum(operators.values())
    return total


def clip_batch(clip_s: float) -> dict:
    frames = scale_cost.num_frames(clip_s)
    batch = random_batch(lengths=((frames["audio"], frames["video"]),), text=(3,))
    return {name: value for name, value in batch.items() if name != "utterances"}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_operations_are_those_that_pytorch_counts(adapter):
    model = built(**ADAPTERS[adapter])
    llm = model.llm

    @torch.inference_mode()
    def prompt_of_20_scored_once():
        hidden = llm.model(inputs_embeds=torch.randn(1, 20, 32)).last_hidden_state
        llm.lm_head(hidden[:, -1])

    assert scale_cost.llm_flops(llm, 20, 0) == counted(prompt_of_20_scored_once)


def test_the_head_dimension_of_a_shape_counts():
    shape = Qwen3Config(
        vocab_size=50, hidden_size=32, intermediate_size=80, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16,
    )  # fmt: skip
    llm = built(shape).llm

    @torch.inference_mode()
    def call():
        llm.lm_head(llm.model(inputs_embeds=torch.randn(1, 9, 32)).last_hidden_state)

    assert scale_cost.llm_flops(llm, 9, 0, num_logits=9) == counted(call)


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("scale", ["a4_v2", "a16_v5"])
def test_a_clip_costs_what_decoding_it_takes(scale, num_beams):
    model, scale = built(num_routed=5, num_active=2), Scale.parse(scale)
    expected = scale_cost.count(model, scale, 2.0, num_beams)
    batch = clip_batch(2.0)
    search = DecodeConfig(
        num_beams=num_beams, tokens_per_second=0.0, extra_tokens=expected.text_tokens
    )

    def decode_it():
        decode(model, WordTokenizer(), batch, scale, search, fill=True)

    projectors = counted(lambda: model.prompts(scale, **batch))
    found = counted(decode_it) - projectors
    between_beams = found - expected.prefill_flops - expected.decode_flops
    assert between_beams == 0 if num_beams == 1 else 0 < between_beams < 0.02 * found


@pytest.mark.parametrize("drop_tail", [False, True])
@pytest.mark.parametrize("task, scale", [("asr", "a4"), ("vsr", "v3"), ("avsr", "a7_v2")])
def test_the_prompt_is_as_long_as_counted(task, scale, drop_tail):
    model, scale = baby_model(task=task, drop_tail=drop_tail), Scale.parse(scale)
    prompt = model.prompts(scale, **clip_batch(1.5))[0]
    assert scale_cost.prompt_tokens(model, scale, scale_cost.num_frames(1.5)) == len(prompt)


def test_a_scale_of_another_task_and_a_clip_that_is_too_short_are_errors():
    model = baby_model()
    with pytest.raises(ValueError, match="scale a4 is not one of task avsr, like a4_v2"):
        scale_cost.count(model, Scale.parse("a4"), 2.0, 1)
    with pytest.raises(ValueError, match="rate 16 needs at least 16 frames, got 10"):
        scale_cost.count(model, Scale.parse("a16_v2"), 0.2, 1)


# MoME Table 5, "a clip of 23 s": scale -> tokens.
TABLE_5 = {"a1_v1": 1673, "a4_v2": 560, "a16_v5": 184}
ONE = ModelConfig(llm="meta-llama/Llama-3.2-1B", expert_dim=8)


@pytest.mark.parametrize("scale", TABLE_5)
def test_tokens_are_those_of_the_paper(scale):
    """The paper's counts fit 1,113 audio and 556 video frames, thus a clip of 22.25 s.

    They include the four delimiters, and neither BOS nor the instruction. The authors drop the
    tail, a last partial group of frames; we keep it, at most one token more for each stream.
    """
    frames, delimiters = {"audio": 1113, "video": 556}, 4
    dropped = ModelConfig(llm=ONE.llm, drop_tail=True)
    theirs = scale_cost.stream_tokens(dropped, Scale.parse(scale), frames) + delimiters
    assert theirs == TABLE_5[scale]
    ours = scale_cost.stream_tokens(ONE, Scale.parse(scale), frames) + delimiters
    assert 0 <= ours - theirs <= 2
    shape = cost.shapes_of(ONE.llm)
    model = scale_cost.build(ONE, shape, DIMS, scale_cost.Words(), "meta", torch.bfloat16)
    instruction = ["Transcribe", "speech", "and", "video", "to", "text", "."]
    prompt = scale_cost.prompt_tokens(model, Scale.parse(scale), frames)
    assert prompt == ours + 1 + len(instruction)


def test_llama_1b_by_hand():
    shape = cost.shapes_of(ONE.llm)
    model = scale_cost.build(ONE, shape, DIMS, scale_cost.Words(), "meta", torch.bfloat16)
    assert all(p.is_meta for p in model.parameters())
    layer = 2 * 2048 * 2048 + 2 * 2048 * 512 + 3 * 2048 * 8192
    experts = 2048 * 23 + 24 * 8 * 2048 + 24 * 9 * 2048
    per_token = 16 * (layer + experts + 2 * 101 * 2048)
    assert scale_cost.llm_flops(model.llm, 1, 100) == 2 * (per_token + 2048 * 128_256)
    found = scale_cost.count(model, Scale.parse("a4_v2"), 10.0, 15)
    assert found.stream_tokens == 250 and found.text_tokens == 40
    assert found.cache_bytes == (found.prompt_tokens + 15 * 40) * 16 * 2 * 512 * 2


def test_fewer_layers_and_not_more():
    assert scale_cost.with_layers(SHAPE, 1).num_hidden_layers == 1
    assert SHAPE.num_hidden_layers == 3
    model = built(scale_cost.with_layers(SHAPE, 2))
    assert len(adapters(model.llm)) == 2
    qwen = Qwen3Config(num_hidden_layers=4)
    assert len(scale_cost.with_layers(qwen, 2).layer_types) == 2
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=rf"--layers must be in 1\.\.3.* got {wrong}"):
            scale_cost.with_layers(SHAPE, wrong)

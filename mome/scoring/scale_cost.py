"""What a clip costs the LLM at a scale, counted: tokens, operations, memory of keys and values.

The counts follow from the shapes of a model and need no weights (MoME Table 5, Fig. 6). Operations
are those of PyTorch's FlopCounterMode: two for each multiplication of a matrix product, and
attention as if it saw later tokens, too. They include the adapters, whose experts all run, and
leave out encoders and projectors. mome.search reads the prompt once and each token of the text in
all beams; of the attention between beams, which its masks hide, nothing is counted.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from mome.compression import Scale, num_tokens
from mome.config import ModelConfig
from mome.data import FPS
from mome.experts import MoME
from mome.inject import adapters
from mome.lora import LoRA
from mome.model import STREAMS, MoMEModel

TEXT_PER_S = 4.0  # tokens of the text in a second of speech: 3 words, 4 tokens for 3 words


@dataclass(frozen=True)
class Cost:
    """What one clip costs at one scale; fields are those of `mome bench --json`."""

    clip_s: float
    scale: str
    stream_tokens: int  # of audio and video
    prompt_tokens: int  # these, BOS, delimiters and instruction
    text_tokens: int  # without EOS
    prefill_flops: int  # the prompt, up to the scores of the first token
    decode_flops: int  # the text and EOS, all beams
    cache_bytes: int  # keys and values at the end of the text, all beams: at most


def count(model: MoMEModel, scale: Scale, clip_s: float, num_beams: int) -> Cost:
    """Count a clip of `clip_s` seconds; the weights of `model` may be on the meta device."""
    frames = num_frames(clip_s)
    prompt, text = prompt_tokens(model, scale, frames), text_tokens(clip_s)
    llm, shape = model.llm, model.llm.config
    values = 2 * shape.num_hidden_layers * shape.num_key_value_heads * head_dim(shape)
    return Cost(
        clip_s=clip_s,
        scale=str(scale),
        stream_tokens=stream_tokens(model.config, scale, frames),
        prompt_tokens=prompt,
        text_tokens=text,
        prefill_flops=prefill_flops(llm, prompt, num_beams),
        decode_flops=decode_flops(llm, prompt, text, num_beams),
        cache_bytes=values * llm.dtype.itemsize * (prompt + num_beams * text),
    )


# ---- tokens --------------------------------------------------------------------------------------


def num_frames(clip_s: float) -> dict[str, int]:
    """Encoder frames of a clip, by stream."""
    return {stream: round(clip_s * fps) for stream, fps in FPS.items()}


def stream_tokens(config: ModelConfig, scale: Scale, frames: dict[str, int]) -> int:
    """Audio and video tokens of a clip; ValueError when it is too short for the scale."""
    return sum(
        num_tokens(frames[stream], getattr(scale, stream), config.drop_tail)
        for stream in STREAMS[scale.task]
    )


def prompt_tokens(model: MoMEModel, scale: Scale, frames: dict[str, int]) -> int:
    """Tokens before the text: BOS, two delimiters for each stream, its tokens, the instruction.

    Raises ValueError for a scale of another task and for a clip that is too short for it.
    """
    if scale.task not in {trained.task for trained in model.scales}:
        raise ValueError(
            f"scale {scale} is not one of task {model.config.task}, like {model.scales[0]}"
        )
    instruction = model.get_buffer(f"instruction_{scale.task}")
    delimiters = 2 * len(STREAMS[scale.task])
    streams = stream_tokens(model.config, scale, frames)
    return len(model.get_buffer("bos")) + delimiters + streams + len(instruction)


def text_tokens(clip_s: float) -> int:
    """Tokens of the text that is expected for a clip."""
    return max(1, round(clip_s * TEXT_PER_S))


# ---- operations ----------------------------------------------------------------------------------


def prefill_flops(llm: Any, prompt: int, num_beams: int) -> int:
    """Operations for a prompt of `prompt` tokens, up to the scores of the first token."""
    return llm_flops(llm, prompt, 0, num_logits=num_beams)


def decode_flops(llm: Any, prompt: int, text: int, num_beams: int) -> int:
    """Operations for `text` tokens and EOS after a prompt."""
    return num_beams * sum(llm_flops(llm, 1, prompt + k) for k in range(text))


def llm_flops(llm: Any, num_new: int, num_before: int, num_logits: int = 1) -> int:
    """Operations of the LLM and its adapters for `num_new` tokens behind `num_before` cached ones.

    `num_logits` of the tokens are scored against the vocabulary.
    """
    shape = llm.config
    num_layers, dim = shape.num_hidden_layers, shape.hidden_size
    head, heads, kv_heads = head_dim(shape), shape.num_attention_heads, shape.num_key_value_heads
    projections = 2 * dim * head * (heads + kv_heads)  # queries and output, keys and values
    layer = projections + 3 * dim * shape.intermediate_size
    weights = num_layers * layer + sum(map(adapter_weights, adapters(llm)))
    attention = num_layers * 2 * heads * head * (num_before + num_new)  # scores, then values
    return 2 * (num_new * (weights + attention) + num_logits * dim * shape.vocab_size)


def head_dim(shape: PretrainedConfig) -> int:
    """Width of an attention head."""
    return getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads


def adapter_weights(adapter: Any) -> int:
    """Weights of an adapter that multiply each token. Experts that are not chosen do, too."""
    if isinstance(adapter, MoME):
        dim = adapter.out.shape[0]
        router = 0 if adapter.kind == "static" else adapter.num_routed * dim
        return router + adapter.down.weight.numel() + adapter.out.numel()
    if isinstance(adapter, LoRA):
        return adapter.active_parameters()
    return adapter.down.weight.numel() + adapter.up.weight.numel()


# ---- models without trained weights --------------------------------------------------------------


class Words:
    """Stands in for a tokenizer that is not at hand: a token for each word and each mark."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, text: str, add_special_tokens: bool = True):
        ids = [3] * len(re.findall(r"\w+|[^\w\s]", text))
        return type("Encoding", (), {"input_ids": ids})

    def batch_decode(self, rows: list[list[int]], skip_special_tokens: bool = True) -> list[str]:
        return [" ".join(map(str, row)) for row in rows]


def build(
    config: ModelConfig,
    shape: PretrainedConfig,
    frame_dims: dict[str, int],
    tokenizer: Any,
    device: str,
    dtype: torch.dtype,
) -> MoMEModel:
    """A model with random weights around an LLM of this shape; on device "meta" without weights."""
    torch.manual_seed(0)
    with torch.device(device):
        llm = AutoModelForCausalLM.from_config(
            shape, dtype=dtype, attn_implementation=config.attention
        )
        model = MoMEModel(config, llm, tokenizer, frame_dims)
    return model.to(dtype).eval()


def with_layers(shape: PretrainedConfig, num_layers: int) -> PretrainedConfig:
    """The same shape with another number of layers; ValueError for more than it has."""
    if not 1 <= num_layers <= shape.num_hidden_layers:
        raise ValueError(
            f"--layers must be in 1..{shape.num_hidden_layers}, the LLM's own; got {num_layers}"
        )
    # A list with the kind of each layer, which Qwen has, is made anew.
    changes = {"num_hidden_layers": num_layers, "layer_types": None}
    return type(shape).from_dict(shape.to_dict() | changes)

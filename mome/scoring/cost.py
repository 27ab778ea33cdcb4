"""What a model costs: parameters of a configuration, counted without its weights.

Nothing is downloaded or allocated. The shapes of the LLMs and encoders that the configurations name
are listed here; those of a folder are read from its config.json.
"""

import json
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PretrainedConfig

from mome.config import Config
from mome.model import MoMEModel

LLMS = {  # width, layers, heads, key-value heads, feed-forward width, tied embeddings
    "meta-llama/Llama-3.2-1B": (2048, 16, 32, 8, 8192, True),
    "meta-llama/Llama-3.2-3B": (3072, 28, 24, 8, 8192, True),
    "meta-llama/Llama-3.1-8B": (4096, 32, 32, 8, 14336, False),
    "downloads/SmolLM2-135M-Instruct": (576, 30, 9, 3, 1536, True),
    "downloads/baby-llm": (64, 2, 4, 2, 128, True),
}
ENCODERS = {  # width of the frames
    "openai/whisper-tiny": 384,
    "openai/whisper-base": 512,
    "openai/whisper-small": 768,
    "openai/whisper-medium": 1024,
    "openai/whisper-large-v3": 1280,
    "downloads/whisper-tiny.en": 384,
    "downloads/baby-whisper": 64,
    "downloads/baby-avhubert": 32,
    "downloads/avhubert-base": 768,
    "downloads/avhubert-large": 1024,
    "exp/video_encoder": 256,
}


def shapes_of(llm: str) -> PretrainedConfig:
    """The configuration of an LLM, from `LLMS` or its folder; ValueError when it is in neither."""
    known = llm.removesuffix("-Instruct") if llm.startswith("meta-llama") else llm
    if known not in LLMS:
        if not Path(llm, "config.json").is_file():
            raise ValueError(
                f"the shapes of {llm} are not known: name a folder that has a config.json, or one"
                f" of {', '.join(LLMS)}"
            )
        return AutoConfig.from_pretrained(llm)
    width, layers, heads, kv_heads, feed_forward, tied = LLMS[known]
    return LlamaConfig(
        vocab_size=128_256 if known.startswith("meta-llama") else 49_152,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=feed_forward,
        tie_word_embeddings=tied,
    )


def width_of(encoder: str) -> int:
    """Width of an encoder's frames, from its folder or `ENCODERS`; ValueError when in neither."""
    path = Path(encoder, "config.json")
    if path.is_file():
        settings = json.loads(path.read_text())
        for name in ("d_model", "dim"):
            if name in settings:
                return settings[name]
    name = encoder.removesuffix(".en") if encoder.startswith("openai") else encoder
    if name not in ENCODERS:
        raise ValueError(
            f"the frame width of {encoder} is not known: name a folder that has a config.json,"
            f" or one of {', '.join(ENCODERS)}"
        )
    return ENCODERS[name]


class NoTokenizer:
    """The part of a tokenizer that is needed to build a model that never sees a text."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, text: str, add_special_tokens: bool = True):
        return type("Encoding", (), {"input_ids": [0]})


def count_parameters(cfg: Config) -> dict[str, int]:
    """Parameters of a configuration: {"active": n, "resident": n, "projectors": n}.

    Active parameters are those of the adapters that a token uses at one scale; resident ones are
    all of the adapters.
    """
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(shapes_of(cfg.model.llm))
        widths = {"audio": width_of(cfg.encoders.audio), "video": width_of(cfg.encoders.video)}
        model = MoMEModel(cfg.model, llm, NoTokenizer(), widths)
    return model.count_parameters()

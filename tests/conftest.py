"""Shared by the tests: a baby LLM with its tokenizer, and random batches for it."""

import logging

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mome.config import ModelConfig
from mome.model import MoMEModel


class WordTokenizer:
    """One id per word: the little of a tokenizer that the model and the decoder use."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, text: str, add_special_tokens: bool = True):
        ids = [3 + sum(map(ord, word)) % 29 for word in text.split()]
        return type("Encoding", (), {"input_ids": ids})

    def batch_decode(self, rows, skip_special_tokens: bool = True) -> list[str]:
        return [" ".join(f"w{i}" for i in row.tolist() if i > 2) for row in rows]


def baby_llm(layers: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(0)
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )
    torch.nn.init.zeros_(llm.lm_head.weight[2])  # a random LLM should not end at once
    return llm.eval()


def baby_model(wake: bool = True, **config) -> MoMEModel:
    """A model over a baby LLM; `wake` makes its experts do something, which fresh ones do not."""
    settings = {"llm": "baby", "projector_dim": 12, "num_routed": 5, "num_active": 2}
    cfg = ModelConfig(**{**settings, "expert_dim": 3, **config})
    model = MoMEModel(cfg, baby_llm(), WordTokenizer(), {"audio": 8, "video": 6})
    if wake:
        for name, parameter in model.trained().items():
            if ".adapter.up" in name or ".adapter.b_" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def random_batch(lengths=((50, 25), (37, 19), (40, 20)), text=(6, 3, 4), seed=0) -> dict:
    """A padded batch; what stands in the padding is noise, which must not matter."""
    g = torch.Generator().manual_seed(seed)
    B = len(lengths)
    audio, video = max(a for a, _ in lengths), max(v for _, v in lengths)
    return {
        "utterances": [f"s{b}-0000{b}" for b in range(B)],
        "audio": torch.randn(B, audio, 8, generator=g),
        "audio_lengths": torch.tensor([a for a, _ in lengths]),
        "video": torch.randn(B, video, 6, generator=g),
        "video_lengths": torch.tensor([v for _, v in lengths]),
        "text": torch.randint(3, 32, (B, max(text)), generator=g),
        "text_lengths": torch.tensor(list(text)),
    }


def row(batch: dict, b: int) -> dict:
    """One utterance of a batch, without its padding."""
    alone = {"utterances": batch["utterances"][b : b + 1]}
    for name in ("audio", "video", "text"):
        n = int(batch[f"{name}_lengths"][b])
        alone[name] = batch[name][b : b + 1, :n]
        alone[f"{name}_lengths"] = torch.tensor([n])
    return alone


@pytest.fixture(autouse=True)
def _quiet_logs():
    logging.getLogger("transformers").setLevel(logging.ERROR)

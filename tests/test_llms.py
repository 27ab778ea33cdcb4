"""Families of LLMs, tiny and random: what is injected must work in each of them alike."""

import pytest
import torch
from conftest import WordTokenizer, random_batch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config

from mome.compression import Scale
from mome.config import DecodeConfig, ModelConfig
from mome.decoding import decode, limit
from mome.model import MoMEModel

TINY = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
FAMILIES = {
    "llama3": LlamaConfig(**TINY, rope_parameters=ROPE, tie_word_embeddings=True),
    "smollm2": LlamaConfig(**TINY, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**TINY),
    "qwen3": Qwen3Config(**TINY, head_dim=8),
}
ADAPTERS = {
    "mhsa": {"position": "mhsa"},
    "ffn": {"position": "ffn"},
    "layer": {"position": "layer"},
    "lora": {"adapter": "lora", "lora_rank": 3, "lora_form": "mss"},
}


class NoBos(WordTokenizer):
    """Qwen's tokenizers have no BOS."""

    bos_token_id = None


def model_of(family: str, adapter: str) -> MoMEModel:
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(FAMILIES[family]).eval()
    llm.generation_config.eos_token_id = 2
    tokenizer = NoBos() if "qwen" in family else WordTokenizer()
    settings = {"num_routed": 5, "num_active": 2, "expert_dim": 3, "projector_dim": 12}
    cfg = ModelConfig(llm=family, **settings, **ADAPTERS[adapter])
    model = MoMEModel(cfg, llm, tokenizer, {"audio": 8, "video": 6})
    for name, parameter in model.trained().items():
        if ".adapter." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_get_gradients_and_cached_decoding_equals_a_loop_without(family, adapter):
    model, batch = model_of(family, adapter), random_batch(lengths=((50, 25),), text=(6,))
    model.train()(**batch)[0].backward()
    assert all(p.grad is not None for p in model.trained().values())
    assert not any(p.requires_grad for n, p in model.llm.named_parameters() if "adapter" not in n)
    model.eval()
    search = DecodeConfig(tokens_per_second=4.0, tokens_more=3)
    x, ids = model.prompts(Scale(16, 2), **batch)[0], []
    while len(ids) < limit(1.0, search):
        new = int(model.llm(inputs_embeds=x[None]).logits[0, -1].argmax())
        if new == model.eos:
            break
        ids.append(new)
        x = torch.cat([x, model.llm.get_input_embeddings()(torch.tensor([new]))])
    assert ids
    expected = WordTokenizer().batch_decode([torch.tensor(ids)])
    assert decode(model, WordTokenizer(), batch, Scale(16, 2), search) == expected


def test_an_llm_of_another_layout_is_refused_by_name():
    llm = AutoModelForCausalLM.from_config(
        GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=2)
    )
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel has no `model\.layers`, the list"):
        MoMEModel(ModelConfig(), llm, WordTokenizer(), {"audio": 8, "video": 6})


def test_few_bits_need_a_gpu(monkeypatch):
    from mome import model

    monkeypatch.setattr(model.AutoTokenizer, "from_pretrained", lambda name: WordTokenizer())
    with pytest.raises(
        ValueError, match=r"model\.quantise=4bit needs a GPU, but the model is on cpu"
    ):
        model.load_llm(ModelConfig(quantise="4bit"), "cpu")

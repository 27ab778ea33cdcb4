"""Families of LLMs, tiny and random: what is injected must work in each of them alike."""

import pytest
import torch
from conftest import WordTokenizer, random_batch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config

from mome.compression import Scale
from mome.config import DecodeConfig, ModelConfig
from mome.decoding import decode, limit
from mome.model import MoMEModel, load_llm

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

SMALL = {"num_routed": 5, "num_active": 2, "expert_dim": 3, "projector_dim": 12}


class NoBos(WordTokenizer):
    """Qwen's tokenizers have no BOS."""

    bos_token_id = None


def model_of(family: str, adapter: str) -> MoMEModel:
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(FAMILIES[family]).eval()
    llm.generation_config.eos_token_id = 2
    tokenizer = NoBos() if "qwen" in family else WordTokenizer()
    cfg = ModelConfig(llm=family, **SMALL, **ADAPTERS[adapter])
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
    search = DecodeConfig(tokens_per_second=4.0, extra_tokens=3)
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


WIDE = TINY | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4}


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A folder with an LLM whose layers are wide enough to hold in few bits."""
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(LlamaConfig(**WIDE))
    torch.nn.init.zeros_(llm.lm_head.weight[WordTokenizer.eos_token_id])  # do not end at once
    llm.save_pretrained(tmp_path)
    monkeypatch.setattr("mome.model.AutoTokenizer.from_pretrained", lambda name: WordTokenizer())
    return tmp_path


@pytest.mark.parametrize("quantise, smaller, apart", [("8bit", 0.6, 0.02), ("4bit", 0.4, 0.3)])
@pytest.mark.parametrize("adapter", ["layer", "lora"])
def test_a_frozen_llm_in_few_bits(saved, adapter, quantise, smaller, apart):
    losses, sizes, batch = [], [], random_batch()
    for kind in ("none", quantise):
        cfg = ModelConfig(
            llm=str(saved), llm_dtype="bfloat16", quantise=kind, **SMALL, **ADAPTERS[adapter]
        )
        llm, tokenizer = load_llm(cfg)
        sizes.append(sum(p.nbytes for n, p in llm.named_parameters() if "proj" in n))
        torch.manual_seed(0)
        made = MoMEModel(cfg, llm, tokenizer, {"audio": 8, "video": 6}).train()
        made.bfloat16()  # as DeepSpeed does
        for name, parameter in made.trained().items():
            if ".adapter." in name:
                torch.nn.init.normal_(parameter, std=0.3)
        losses.append(made(**batch)[0])
    losses[1].backward()
    assert sizes[1] < smaller * sizes[0]
    assert 0 < abs(losses[1] - losses[0]) < apart
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.trained().values())
    assert not any(p.requires_grad for n, p in llm.named_parameters() if ".adapter." not in n)
    search = DecodeConfig(tokens_per_second=4.0, extra_tokens=3)
    found = decode(made.eval(), tokenizer, batch, Scale(16, 2), search)
    assert len(found) == 3 and any(found)


def test_few_bits_need_bitsandbytes(saved, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"model\.quantise=4bit needs bitsandbytes, which is not"):
        load_llm(ModelConfig(llm=str(saved), quantise="4bit"), "cpu")

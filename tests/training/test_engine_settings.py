"""DeepSpeed's settings: what its file may say, and what ours decide."""

import json

import pytest

from mome.config import Config, EncodersConfig, ModelConfig, TrainConfig
from mome.training import engine_settings


def test_deepspeed_gets_our_settings_beside_those_of_its_file(tmp_path):
    path = tmp_path / "zero.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    cfg = Config(train=TrainConfig(accumulation=3, max_grad_norm=7.0))
    found = engine_settings.build(cfg, path, bf16=True)
    assert found["zero_optimization"] == {"stage": 2} and found["bf16"] == {"enabled": True}
    assert (found["gradient_accumulation_steps"], found["gradient_clipping"]) == (3, 7.0)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "this is not JSON: Expecting"),
        ("", "this is not JSON: Expecting value"),
        ("[]", "must hold values by name, such as {}, and holds a list"),
        ("3", "and holds a int"),
        ("null", "and holds a NoneType"),
        ('{"optimizer": {}}', "sets optimizer, which train.lr, train.betas and"),
        ('{"gradient_clipping": 1}', "sets gradient_clipping, which train.max_grad_norm decides"),
        ('{"train_batch_size": 8}', "sets train_batch_size, which train.max_frames and"),
        ('{"fp16": {"enabled": true}}', "sets fp16, which model.llm_dtype decides"),
        ('{"zero_optimization": []}', "zero_optimization must hold settings by name, got \\[\\]"),
        ('{"zero_optimization": true}', "zero_optimization must hold settings by name, got True"),
        ('{"zero_optimization": {"stage": 4}}', "stage must be 0, 1, 2 or 3, got 4"),
        ('{"zero_optimization": {"stage": "2"}}', "stage must be 0, 1, 2 or 3, got '2'"),
        ('{"zero_optimization": {"stage": true}}', "stage must be 0, 1, 2 or 3, got True"),
        (b"\xff\xfe{}", "line 1: byte 0xff is not UTF-8"),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(tmp_path, text, message, tell, refused):
    path = tmp_path / "zero.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with refused(f"a file with {text!r}", rf"zero\.json.*{message}") as error:
        engine_settings.read(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path, tell, refused):
    with refused("no file", r"zero\.json is missing: train\.deepspeed names", FileNotFoundError):
        engine_settings.read(tmp_path / "zero.json")


@pytest.mark.parametrize(
    "model, encoders, message",
    [
        ({"quantise": "4bit"}, {}, r"cannot shard a quantised LLM \(model.quantise=4bit\)"),
        ({}, {"features": "online", "video_lora_rank": 4}, "cannot train the video encoder"),
    ],
)
def test_what_zero_3_cannot_shard_is_refused(tmp_path, model, encoders, message, tell, refused):
    path = tmp_path / "zero.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 3}}))
    cfg = Config(EncodersConfig(**encoders), ModelConfig(**model))
    with refused(f"ZeRO 3: {message}", f"ZeRO 3 {message}"):
        engine_settings.build(cfg, path, bf16=True)

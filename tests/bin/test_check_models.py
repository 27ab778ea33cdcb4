"""Base models are there before a recipe starts."""

import shutil

import pytest

from mome.bin import check_models
from mome.config import Config, EncodersConfig, ModelConfig
from mome.model import load_llm
from mome.synthesis import baby_models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    (root / "text").write_text("a-1 hello you there\na-2 how are you\n")
    baby_models.make_all(root / "text", root)
    return root


def config(root, **changes) -> Config:
    names = {"llm": "baby-llm", "audio": "baby-whisper", "video": "baby-avhubert"} | changes
    paths = {k: str(root / v) for k, v in names.items()}
    return Config(
        encoders=EncodersConfig(audio=paths["audio"], video=paths["video"]),
        model=ModelConfig(llm=paths["llm"]),
    )


def test_models_that_are_there_are_listed(models):
    lines = check_models.check(config(models))
    assert [line.split()[0] for line in lines] == ["model.llm", "encoders.audio", "encoders.video"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"llm": "none"}, r"model\.llm .*none cannot be read .* `hf auth login`"),
        ({"audio": "none"}, r"encoders\.audio .*none cannot be read"),
        ({"video": "none"}, r"encoders\.video .*none is not a folder .* --avhubert"),
    ],
)
def test_one_that_is_not_says_what_to_do(models, changes, message, refused):
    with refused(f"{changes}", message):
        check_models.check(config(models, **changes))


@pytest.mark.parametrize("content", [b"", b"{", b"x" * 1000])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_llm_is_one_line(models, tmp_path, name, content, refused):
    for part in ("llm", "whisper", "avhubert"):
        shutil.copytree(models / f"baby-{part}", tmp_path / f"baby-{part}")
    path = tmp_path / "baby-llm" / name
    assert path.exists()
    path.write_bytes(content)
    case = f"LLM, {name} holds {content[:2]!r}"
    if name != "model.safetensors":
        with refused(f"{case}, before stage 1", "model.llm .*baby-llm cannot be read"):
            check_models.check(config(tmp_path))
    with refused(f"{case}, in training", "model.llm .*baby-llm cannot be read .*fetch it again"):
        load_llm(config(tmp_path).model)

import pytest

from mome.bin import check_models
from mome.config import Config, EncodersConfig, ModelConfig
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
def test_one_that_is_not_says_what_to_do(models, changes, message):
    with pytest.raises(ValueError, match=message):
        check_models.check(config(models, **changes))

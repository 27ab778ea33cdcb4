from pathlib import Path

import pytest

from mome import config
from mome.config import Config, EncodersConfig, ModelConfig
from mome.scoring import cost

ONE, THREE, EIGHT = (f"meta-llama/Llama-{name}" for name in ("3.2-1B", "3.2-3B", "3.1-8B"))
LORA = {"adapter": "lora"}


# Millions, with as many digits as the paper gives (Tables 1, 3 and 6).
@pytest.mark.parametrize(
    "llm, model, active, resident",
    [
        (ONE, LORA, "6.816", "6.816"),
        (THREE, {**LORA, "lora_rank": 96}, "27.525", "27.525"),
        (EIGHT, LORA, "27.263", "27.263"),
        (ONE, {**LORA, "lora_form": "mss"}, "13.63", "34.08"),
        (THREE, {**LORA, "lora_rank": 96, "lora_form": "mss"}, "55.05", "137.63"),
        (EIGHT, {**LORA, "lora_form": "mss"}, "54.53", "136.31"),
        (THREE, {**LORA, "lora_rank": 96, "lora_form": "ss"}, "27.525", "110.100"),
        (ONE, {"expert_dim": 8}, "3.540", "14.1"),
        (THREE, {"expert_dim": 12}, "12.732", "53.6"),
        (EIGHT, {"expert_dim": 8}, "14.157", "56.5"),
        (ONE, {"expert_dim": 1, "num_routed": 15, "num_active": 3}, "0.885", "2.1"),
        (THREE, {"expert_dim": 1, "num_routed": 15, "num_active": 3}, "2.323", "5.4"),
        (EIGHT, {"expert_dim": 1, "num_routed": 15, "num_active": 3}, "3.539", "8.3"),
        (THREE, {"adapter": "plain", "plain_dim": 48}, "8.3", "8.3"),
    ],
)
@pytest.mark.parametrize("position", ["mhsa", "layer"])
def test_parameters_are_those_of_the_paper(llm, model, active, resident, position):
    found = cost.count_parameters(Config(model=ModelConfig(llm=llm, position=position, **model)))
    for name, millions in (("active", active), ("resident", resident)):
        digits = len(millions.split(".")[1])
        assert f"{found[name] / 1e6:.{digits}f}" == millions


def test_projectors_of_the_paper_by_hand():
    found = cost.count_parameters(Config(model=ModelConfig(llm=ONE)))
    out = 2048 * 2048 + 2048
    assert found["projectors"] == (768 * 2048 + 2048 + out) + (1024 * 2048 + 2048 + out)


CONFIGS = sorted(Path(__file__).parents[2].glob("egs/*/avsr1/conf/train_*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parts[-4]}-{p.stem}")
def test_a_dry_run_of_every_config_counts_before_anything_is_downloaded(path):
    found = cost.count_parameters(config.load(path))
    assert 0 < found["active"] <= found["resident"] and found["projectors"] > 0


def test_a_model_of_unknown_shape_is_an_error_that_names_the_known_ones():
    with pytest.raises(
        ValueError, match="shapes of some/LLM are not known: name a folder"
    ) as error:
        cost.count_parameters(Config(model=ModelConfig(llm="some/LLM")))
    assert all(name in str(error.value) for name in cost.LLMS)
    with pytest.raises(ValueError, match="frame width of some/Whisper is not known") as error:
        cost.count_parameters(Config(encoders=EncodersConfig(audio="some/Whisper")))
    assert all(name in str(error.value) for name in cost.ENCODERS)


def test_the_width_of_an_encoder_is_read_from_its_folder(tmp_path):
    for settings, width in (('{"d_model": 48}', 48), ('{"dim": 24}', 24)):
        (tmp_path / "config.json").write_text(settings)
        assert cost.width_of(str(tmp_path)) == width

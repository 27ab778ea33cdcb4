import json
from pathlib import Path

import pytest

from mome import config
from mome.bin import count
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
    found = cost.count(Config(model=ModelConfig(llm=llm, position=position, **model)))
    for name, millions in (("active", active), ("resident", resident)):
        digits = len(millions.split(".")[1])
        assert f"{found[name] / 1e6:.{digits}f}" == millions


def test_projectors_of_the_paper_by_hand():
    found = cost.count(Config(model=ModelConfig(llm=ONE)))
    out = 2048 * 2048 + 2048
    assert found["projectors"] == (768 * 2048 + 2048 + out) + (1024 * 2048 + 2048 + out)


def test_the_command_prints_json(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("model: {adapter: lora}\n")
    count.main(["--config", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"active", "resident", "projectors"}
    assert found["active"] == 16 * 64 * (2048 + 2048 + 2048 + 512)
    count.main(["--config", str(path), "model.lora_rank=32"])
    assert "3.408M" in capsys.readouterr().out


CONFIGS = sorted(Path(__file__).parents[2].glob("egs/*/avsr1/conf/train_*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parts[-4]}-{p.stem}")
def test_a_dry_run_of_every_config_counts_before_anything_is_downloaded(path):
    found = cost.count(config.load(path))
    assert 0 < found["active"] <= found["resident"] and found["projectors"] > 0


def test_a_model_of_unknown_shape_is_told():
    with pytest.raises(ValueError, match="shapes of some/LLM are not known: name a folder"):
        cost.count(Config(model=ModelConfig(llm="some/LLM")))
    with pytest.raises(ValueError, match="frame width of some/Whisper is not known"):
        cost.count(Config(encoders=EncodersConfig(audio="some/Whisper")))

import pytest
import yaml

from mome.bin import config as command


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "train_x.yaml"
    path.write_text("model:\n  llm: downloads/baby-llm\n  audio_rates: [4, 16]\n")
    return str(path)


@pytest.mark.parametrize("form", [["--config"], []], ids=["--config FILE", "FILE"])
def test_it_prints_every_setting_with_defaults_and_overrides(form, path, capsys):
    command.main([*form, path, "train.lr=5e-4"])
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["model"]["llm"] == "downloads/baby-llm"
    assert values["train"]["lr"] == 5e-4
    assert values["train"]["ctc_warmup"]["num_steps"] == 0


@pytest.mark.parametrize(
    "key, text",
    [
        ("model.llm", "downloads/baby-llm\n"),
        ("model.audio_rates", "4 16\n"),
        ("train.ctc_warmup.weight", "0.0\n"),
        ("encoders.noise_dir", "\n"),
    ],
)
def test_get_prints_one_value_alone_a_list_as_words(key, text, path, capsys):
    command.main(["--config", path, "--get", key])
    assert capsys.readouterr().out == text


def test_an_unknown_key_is_named(path):
    with pytest.raises(ValueError, match=r"train_x\.yaml: no setting called model\.lm"):
        command.main([path, "--get", "model.lm"])
    with pytest.raises(ValueError, match=r"command line: no setting called model\.lm"):
        command.main([path, "model.lm=x"])


def test_without_a_file_it_asks_for_one(capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["train.lr=1"])
    assert "error: no configuration was given: --config conf/x.yaml" in capsys.readouterr().err

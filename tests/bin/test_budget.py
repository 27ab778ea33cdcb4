"""The scale that a budget affords, and the real-time factors that are kept."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import WordTokenizer, baby_model

from mome.bin import _budget, transcribe
from mome.compression import Scale, scales_of
from mome.config import Config
from mome.transcription.recogniser import Recogniser

SCALES = scales_of("avsr", [4, 16], [2, 5])  # a second has 25, 17.5, 15.6 and 8.1 tokens


@pytest.fixture
def model(tmp_path, monkeypatch) -> SimpleNamespace:
    """What a budget needs of a recogniser; its cache folder is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "model.safetensors").write_text("weights")
    llm = SimpleNamespace(dtype=torch.float32)
    return SimpleNamespace(
        scales=SCALES, dir=tmp_path, device=torch.device("cpu"), config=Config(),
        model=SimpleNamespace(llm=llm),
    )  # fmt: skip


@pytest.fixture
def measured(monkeypatch) -> list:
    """Counts how often factors are measured; they are 0.4, 0.3, 0.2 and 0.1."""
    calls = []

    def measure(model, landmarks_every):
        calls.append(landmarks_every)
        return {str(s): 0.4 - 0.1 * k for k, s in enumerate(SCALES)}

    monkeypatch.setattr(_budget, "measure", measure)
    return calls


@pytest.mark.parametrize(
    ("budget", "scale"),
    [
        ("tokens=100", "a4_v2"), ("tokens=25", "a4_v2"), ("tokens=24", "a4_v5"),
        ("tokens=16", "a16_v2"), ("tokens=9", "a16_v5"), ("rtf=0.5", "a4_v2"),
        ("rtf=0.35", "a4_v5"), ("rtf=0.11", "a16_v5"),
    ],
)  # fmt: skip
def test_the_most_expensive_scale_within_the_budget(model, measured, budget, scale):
    assert _budget.affordable(model, budget, None) == scale


@pytest.mark.parametrize("budget", ["tokens=1", "rtf=0.01"])
def test_beyond_all_budgets_the_cheapest_scale_and_a_warning(model, measured, budget, caplog):
    assert _budget.affordable(model, budget, None) == "a16_v5"
    assert any(r.levelno == logging.WARNING and budget in r.getMessage() for r in caplog.records)


def test_of_a_model_for_all_tasks_only_the_scales_of_the_task(model):
    model.scales = scales_of("all", [4, 16], [2, 5])
    assert _budget.affordable(model, "tokens=13", "asr") == "a4"
    assert Scale.parse("a4").tokens_per_second == 12.5


def test_factors_are_measured_once_and_anew_when_asked_damaged_or_for_another_setup(
    model, measured, monkeypatch
):
    for _ in range(3):
        _budget.affordable(model, "rtf=0.5", None)
    assert len(measured) == 1
    _budget.affordable(model, "rtf=0.5", None, again=True)
    assert len(measured) == 2
    _budget.cache_path(model, 1).write_text("{")
    _budget.affordable(model, "rtf=0.5", None)
    assert len(measured) == 3
    _budget.affordable(model, "rtf=0.5", None, landmarks_every=5)
    (model.dir / "model.safetensors").write_text("other weights")
    _budget.affordable(model, "rtf=0.5", None)
    assert measured == [1, 1, 1, 5, 1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    _budget.affordable(model, "rtf=0.5", None)
    assert len(measured) == 6


def test_a_cache_folder_that_cannot_be_written_is_a_warning(model, measured, monkeypatch, caplog):
    (model.dir / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(model.dir / "file"))
    assert _budget.affordable(model, "rtf=0.35", None) == "a4_v5"
    assert "cannot be kept" in caplog.text


@pytest.mark.parametrize("text", ["rtf", "rtf=", "rtf=0", "rtf=-1", "rtf=x", "flops=3", "rtf=nan"])
def test_what_is_no_budget_is_one_line(text, capsys):
    with pytest.raises(SystemExit) as error:
        transcribe.parse(["clip.mp4", "--model", "exp/x", "--budget", text])
    assert error.value.code == 2
    assert "rtf=0.5 or tokens=100" in capsys.readouterr().err


def test_a_scale_and_a_budget_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        transcribe.parse(["a.mp4", "--model", "x", "--scale", "a4", "--budget", "rtf=1"])
    assert "exclude" in capsys.readouterr().err


def test_factors_are_measured_from_the_file_to_the_text(tmp_path, monkeypatch):
    """With a baby model: a factor for each scale, and a text of the expected length counted."""

    class Listener:
        dim, name, sha256 = 8, "listener", ""

        def __call__(self, sounds):
            return [torch.zeros(len(sound) // 320, 8) for sound in sounds]

    monkeypatch.setattr(_budget, "CLIP_S", 1)
    baby = baby_model(task="asr", audio_rates=[2, 4])
    recogniser = Recogniser(
        Path(tmp_path), Config(model=baby.config), baby, WordTokenizer(), {"audio": Listener()}, 16
    )
    table = _budget.measure(recogniser, 1)
    assert table.keys() == {"a2", "a4"} and all(value > 0 for value in table.values())
    assert json.dumps(table)

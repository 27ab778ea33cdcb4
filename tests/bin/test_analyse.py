"""The command on a baby model: files, tables, and what each kind of adapter has to say."""

import json
import os
from pathlib import Path

import cv2
import pytest
import torch
from conftest import baby_recipe, last_weights

from mome import checkpoint, config
from mome.bin import analyse
from mome.inject import adapters
from mome.model import MoMEModel, load_llm

MODELS = {
    "shared": [],
    "per_scale": ["model.router=per_scale"],
    "static": ["model.router=static"],
    "lora": ["model.adapter=lora", "model.lora_rank=2", "model.lora_form=mss"],
    "plain": ["model.adapter=plain", "model.plain_dim=3"],
    "asr": ["model.task=asr"],
}
SCALES = ["a4_v2", "a4_v5", "a16_v2", "a16_v5"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """Features of two sets, and a model with random weights in exp/<name> for each of MODELS."""
    root = baby_recipe(tmp_path_factory.mktemp("recipe"))
    here = Path.cwd()
    os.chdir(root)
    try:
        for name, overrides in MODELS.items():
            cfg = config.load("train.yaml", ["model.llm_dtype=float32", *overrides])
            llm, tokenizer = load_llm(cfg.model, "cpu")
            torch.manual_seed(0)
            dims = {"audio": 6, "video": 5}
            model = MoMEModel(cfg.model, llm, tokenizer, dims)
            with torch.no_grad():
                for adapter in adapters(model.llm):
                    for weight in last_weights(adapter):
                        weight.copy_(torch.empty(weight.shape).normal_(std=0.3))
            base = {"llm_fingerprint": checkpoint.fingerprint(llm), "frame_dims": dims}
            base["features"] = {"audio_encoder": "random"}
            checkpoint.save(f"exp/{name}/best", model.trained(), cfg, base)
            config.save(cfg, f"exp/{name}/config.yaml")
    finally:
        os.chdir(here)
    return root


def run(name: str, *options: str, folder: str = "valid") -> dict:
    analyse.main([f"exp/{name}", "--device", "cpu", "--sets", folder, *options])
    return json.loads(Path(f"exp/{name}/analysis/{folder}/analysis.json").read_text())


@pytest.mark.parametrize("router", ["shared", "per_scale", "static"])
def test_a_model_with_experts_gets_all_statistics(recipe, monkeypatch, capsys, router):
    monkeypatch.chdir(recipe)
    found = run(router)
    experts = found["experts"]
    assert found["utterances"] == 4 and experts["load"].keys() == {*SCALES}
    assert experts["num_routed"] == 5 and experts["router"] == router
    for by_kind in experts["load"].values():
        assert by_kind.keys() == {"audio", "video", "text", "other", "all"}
        for layers in by_kind.values():
            assert len(layers) == 2
            assert [sum(row) for row in layers] == pytest.approx([2, 2], abs=1e-3)
    assert experts["agreement"].keys() == {"audio", "video", "text"}
    assert len(experts["agreement"]["text"]) == 6  # pairs of four scales
    assert len(experts["agreement"]["audio"]) == 4  # of those, with two audio rates
    for pairs in experts["agreement"].values():
        for pair in pairs.values():
            alike = router == "static"  # this one ignores the token
            assert (pair["same"] == pair["other"] == [1, 1]) == alike
    assert found["similarity"]["columns"][:2] == ["audio a4_v2", "video a4_v2"]
    output = capsys.readouterr().out
    assert f"{router}, valid: 4 utterances at a4_v2, a4_v5, a16_v2, a16_v5. 2 of 5" in output
    assert "experts in common" in output and "audio, two rates: before the LLM" in output


def test_every_figure_is_on_the_page_with_a_caption(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    run("shared")
    folder = Path("exp/shared/analysis/valid")
    page = (folder / "index.md").read_text()
    names = {path.name for path in folder.glob("*.png")}
    assert names == {
        f"{name}.png"
        for name in ("load_by_scale", "load_by_kind", "router", "agreement", "similarity", "tokens")
    }
    for name in names:
        assert f"![{name}]({name})\n\n" in page
        image = cv2.imread(str(folder / name))
        assert min(image.shape[:2]) > 300 and image.std() > 10


@pytest.mark.parametrize("name", ["lora", "plain"])
def test_a_model_without_routers_has_only_similarity(recipe, monkeypatch, capsys, name):
    monkeypatch.chdir(recipe)
    found = run(name)
    assert found["experts"] is None and found["similarity"]["groups"]
    assert "This model has no router" in capsys.readouterr().out
    names = {path.name for path in Path(f"exp/{name}/analysis/valid").glob("*.png")}
    assert names == {"similarity.png", "tokens.png"}


def test_a_model_of_one_stream(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    found = run("asr", "--scales", "a4")
    assert found["experts"]["tokens"]["a4"]["video"] == 0
    assert "video" not in found["experts"]["entropy"] and not found["experts"]["agreement"]
    found = run("asr")
    assert found["similarity"]["groups"].keys() == {"audio, two rates"}


def test_batches_and_the_number_of_utterances_are_the_callers(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    one = run("shared", "--batch_size", "1", folder="train")
    for name in (".stamp.json", "analysis.json"):
        Path("exp/shared/analysis/train", name).unlink()
    two = run("shared", "--batch_size", "7", folder="train")
    assert one["experts"]["tokens"] == two["experts"]["tokens"]
    for kind, pairs in one["experts"]["agreement"].items():
        for name, pair in pairs.items():
            for key, values in pair.items():
                found = two["experts"]["agreement"][kind][name][key]
                assert found == pytest.approx(values, abs=2e-3)
    few = run("shared", "--num_utterances", "3", folder="train")
    assert one["utterances"] == 20 and few["utterances"] == 3


def test_what_is_done_is_not_done_again(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    run("plain", "--scales", "a4_v2")
    calls = []
    monkeypatch.setattr(analyse, "load_model", lambda *_: calls.append(1))
    run("plain", "--scales", "a4_v2")
    assert not calls


@pytest.mark.parametrize(
    "options, error, message",
    [
        (["--sets", "tst"], FileNotFoundError, "dump/feats has no set tst; it has train, valid"),
        (["--model", "bestt"], FileNotFoundError, "exp/shared has no model bestt; it has best"),
        (["--scales", "a4"], ValueError, "scale a4 is not one of task avsr, like a4_v2"),
    ],
)
def test_errors_name_what_there_is(recipe, monkeypatch, options, error, message):
    monkeypatch.chdir(recipe)
    with pytest.raises(error, match=message):
        analyse.main(["exp/shared", "--sets", "valid", *options])


def test_numbers_of_utterances_are_positive(capsys):
    with pytest.raises(SystemExit):
        analyse.main(["exp/shared", "--num_utterances", "0"])
    assert "must be 1 or more" in capsys.readouterr().err

"""Decoding in several jobs: the same texts as in one, each pair of a set and a scale once."""

import json
import os
from pathlib import Path

import pytest
import torch
from conftest import baby_recipe

from mome import checkpoint, config, decoding
from mome.bin import decode
from mome.data.features import load_encoders
from mome.decoding import load_model
from mome.model import MoMEModel, load_llm

SETS = ["train", "valid"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """Features of two sets, and a model in exp/fresh that nobody has trained."""
    root = baby_recipe(tmp_path_factory.mktemp("recipe"))
    (root / "data").symlink_to("dump/feats")
    here = Path.cwd()
    os.chdir(root)
    try:
        cfg = config.load("train.yaml", [])
        llm, tokenizer = load_llm(cfg.model, "cpu")
        torch.nn.init.zeros_(llm.lm_head.weight[tokenizer.eos_token_id])
        torch.manual_seed(0)
        dims = {"audio": 6, "video": 5}
        model = MoMEModel(cfg.model, llm, tokenizer, dims)
        base = {"llm_fingerprint": checkpoint.fingerprint(llm), "frame_dims": dims}
        base["features"] = {"audio_encoder": "random"}
        llm.save_pretrained(cfg.model.llm)
        checkpoint.save("exp/fresh/best", model.trained(), cfg, base)
        config.save(cfg, "exp/fresh/config.yaml")
    finally:
        os.chdir(here)
    return root


def run(recipe, exp: str, *options: str) -> dict[str, str]:
    """The text of each decoded set at each scale."""
    if not (recipe / exp).exists():
        (recipe / exp).mkdir()
        for name in ("best", "config.yaml"):
            (recipe / exp / name).symlink_to(recipe / "exp/fresh" / name)
    decode.main([exp, "decode.tokens_per_second=2", "--sets", *SETS, *options])
    return {
        str(path.relative_to(recipe / exp)): path.read_text()
        for path in sorted((recipe / exp).glob("decode_*/*/text"))
    }


def test_several_processes_find_what_one_finds(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    one = run(recipe, "exp/one")
    assert len(one) == 4 * len(SETS)
    assert run(recipe, "exp/two", "--num_jobs", "2") == one
    texts = one["decode_a4_v2/train/text"].splitlines()
    assert len(texts) == 20 and len({line.split(" ", 1)[1] for line in texts}) > 1


def test_jobs_share_the_work_and_leave_nothing_for_another(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    found = [set(run(recipe, f"exp/job{i}", "--job", f"{i}/3")) for i in (1, 2, 3)]
    assert [len(f) for f in found] == [3, 3, 2] and len(set.union(*found)) == 8
    run(recipe, "exp/job1", "--job", "2/3")
    run(recipe, "exp/job1", "--job", "3/3")
    calls = []
    monkeypatch.setattr(decoding, "load_model", lambda *_: calls.append(1))
    run(recipe, "exp/job1", "--num_jobs", "3")
    assert not calls


def test_a_model_without_video_has_none_taken_away(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    argv = ["exp/fresh", "model.task=asr", "--sets", "valid", "valid_zeroed_video"]
    message = "valid_zeroed_video is for models with video: exp/fresh has"
    with pytest.raises(ValueError, match=message):
        decode.main(argv)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--sets", "valid", "tst"], "dump/feats has no set tst; it has train, valid"),
        (["--sets", "valid", "--model", "bestt"], "exp/fresh has no model bestt; it has best"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(recipe, monkeypatch, options, message):
    monkeypatch.chdir(recipe)
    with pytest.raises(FileNotFoundError, match=message):
        decode.main(["exp/fresh", *options])


def test_without_its_own_video_a_set_gets_a_name_of_its_own(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    checks = [f"{s}_{v}_video" for s in SETS for v in ("zeroed", "other")]
    found = run(recipe, "exp/checks", "--scales", "a4_v2", "--sets", *checks)
    assert {Path(path).parent.name for path in found} == set(checks)
    record = json.loads(
        (recipe / "exp/checks/decode_a4_v2/valid_other_video/decode.json").read_text()
    )
    assert record["video"] == "other" and record["data"] == "data/valid"


def test_sets_without_their_video_are_decoded_at_the_first_and_the_last_scale(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    sets = ["--sets", "valid", "valid_other_video"]
    found = run(recipe, "exp/ends", "--scales", "a4_v2", "a4_v5", "a16_v5", *sets)
    scales: dict[str, set[str]] = {"valid": set(), "valid_other_video": set()}
    for path in found:
        scales[Path(path).parent.name].add(Path(path).parts[0])
    assert scales["valid"] == {"decode_a4_v2", "decode_a4_v5", "decode_a16_v5"}
    assert scales["valid_other_video"] == {"decode_a4_v2", "decode_a16_v5"}


def test_a_model_with_a_trained_video_encoder_is_loaded_with_its_lora(
    recipe, monkeypatch, tmp_path
):
    monkeypatch.chdir(recipe)
    settings = ["encoders.video=baby/baby-avhubert", "encoders.video_lora_rank=2"]
    cfg = config.load("train.yaml", [*settings, "encoders.features=online", "model.task=vsr"])
    encoder = load_encoders(["video"], cfg.encoders, "cpu")["video"]
    llm, tokenizer = load_llm(cfg.model, "cpu")
    model = MoMEModel(cfg.model, llm, tokenizer, {"video": encoder.dim})
    model.add_video_encoder(encoder)
    with torch.no_grad():
        for parameter in model.video_lora.parameters():
            parameter.copy_(torch.randn_like(parameter))
    base = {"llm_fingerprint": checkpoint.fingerprint(llm), "frame_dims": {"video": encoder.dim}}
    checkpoint.save(tmp_path / "best", model.trained(), cfg, base)
    loaded, _, _ = load_model(tmp_path / "best", cfg, "cpu")
    mouths = [torch.randint(0, 255, (6, 96, 96), dtype=torch.uint8).numpy()]
    found, expected = (m.encode_mouths({"mouths": mouths})["video"] for m in (loaded, model))
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)  # LoRA in bfloat16


def test_a_job_that_fails_is_reported(recipe, monkeypatch, capfd, refused):
    monkeypatch.chdir(recipe)
    (recipe / "exp/broken").mkdir()
    base = json.loads((recipe / "exp/fresh/best/base.json").read_text())
    (recipe / "exp/broken/best").mkdir()
    for name in ("model.safetensors", "config.yaml"):
        (recipe / "exp/broken/best" / name).symlink_to(recipe / "exp/fresh/best" / name)
    (recipe / "exp/broken/config.yaml").symlink_to(recipe / "exp/fresh/config.yaml")
    base["llm_fingerprint"] = "another"
    (recipe / "exp/broken/best/base.json").write_text(json.dumps(base))
    with refused("a job that failed", "job 1/2 for exp/broken failed: its error is above"):
        run(recipe, "exp/broken", "--num_jobs", "2")
    assert "was trained on another LLM" in capfd.readouterr().err

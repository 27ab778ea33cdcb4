"""Model folders: what is kept, and what does not go with it."""

import pytest
import torch
from conftest import WordTokenizer, baby_llm, baby_model, random_batch

from mome import checkpoint, config, decoding
from mome.config import Config, EncodersConfig, ModelConfig


def save(model, path, **changes):
    frozen = checkpoint.describe_base(model.llm, WordTokenizer(), {})
    checkpoint.save(path, model.trained(), Config(), {"llm": "baby"} | frozen | changes)


def check(model, path, cfg=None, tokenizer=None):
    checkpoint.check(path, cfg or Config(), model.llm, tokenizer or WordTokenizer())


def test_a_model_comes_back_as_it_was(tmp_path):
    model, batch = baby_model(), random_batch()
    save(model, tmp_path / "best")
    other = baby_model(wake=False)
    assert not torch.allclose(other(**batch)[0], model(**batch)[0])
    decoding.load_into(other, tmp_path / "best")
    assert torch.equal(other(**batch)[0], model(**batch)[0])


def test_only_trained_weights_are_kept(tmp_path):
    model = baby_model()
    save(model, tmp_path / "best")
    assert checkpoint.read(tmp_path / "best").keys() == model.trained().keys()
    assert not any("q_proj" in name for name in checkpoint.read(tmp_path / "best"))


def test_a_checkpoint_of_another_llm_is_refused(tmp_path, refused):
    model = baby_model()
    save(model, tmp_path / "best", llm_sha256="0123")
    with refused("another LLM", r"trained on another LLM: baby .*0123"):
        check(model, tmp_path / "best")


def test_one_value_in_the_middle_of_the_llm_counts(tmp_path, refused):
    model = baby_model()
    model.llm.model.embed_tokens.weight.data = torch.randn(4000, 16)  # more than the sample
    save(model, tmp_path / "best")
    check(model, tmp_path / "best")
    sampled = checkpoint.fingerprint(model.llm)
    with torch.no_grad():
        model.llm.model.embed_tokens.weight[2000, 3] += 0.5
    assert checkpoint.fingerprint(model.llm) == sampled  # so version 0.1 did not see it
    with refused("one value of the LLM", "trained on another LLM"):
        check(model, tmp_path / "best")


def test_another_tokenizer_is_refused(tmp_path, refused):
    save(baby_model(), tmp_path / "best")
    other = WordTokenizer()
    other.eos_token_id = 3
    with refused("another tokenizer", "was trained with another tokenizer"):
        check(baby_model(), tmp_path / "best", tokenizer=other)


@pytest.mark.parametrize(
    "cfg, message",
    [
        (Config(model=ModelConfig(num_active=3)), "model.num_active is 3, but .* trained with 4"),
        (Config(model=ModelConfig(renormalise=True)), "model.renormalise is True, but"),
        (Config(model=ModelConfig(drop_tail=True)), "model.drop_tail is True, but"),
        (Config(encoders=EncodersConfig(pad_to_30s=True)), "encoders.pad_to_30s is True, but"),
    ],
)
def test_settings_that_change_what_the_weights_compute_are_refused(tmp_path, cfg, message, refused):
    save(baby_model(), tmp_path / "best")
    with refused(f"{message}", message):
        check(baby_model(), tmp_path / "best", cfg)


def test_settings_of_the_place_where_a_model_runs_are_free(tmp_path):
    save(baby_model(), tmp_path / "best")
    free = ModelConfig(llm="elsewhere", attention="eager", llm_dtype="float32", balance_weight=0)
    check(baby_model(), tmp_path / "best", Config(model=free))


def test_a_flipped_bit_is_reported(tmp_path, refused):
    save(baby_model(), tmp_path / "best")
    path = tmp_path / "best" / checkpoint.FILE
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with refused("a flipped bit", "is damaged, or the file of another model"):
        checkpoint.read(tmp_path / "best")


def test_a_folder_of_version_0_1_says_less_and_is_read(tmp_path):
    model, batch = baby_model(), random_batch()
    save(model, tmp_path / "old")
    old = {"llm": "baby", "llm_fingerprint": checkpoint.fingerprint(model.llm)}
    checkpoint.files.write_json(tmp_path / "old/base.json", old)
    other = baby_model(wake=False)
    check(other, tmp_path / "old", Config(model=ModelConfig(num_active=3)))
    decoding.load_into(other, tmp_path / "old")
    assert torch.equal(other(**batch)[0], model(**batch)[0])


def test_base_models_are_found_from_any_folder(tmp_path, monkeypatch):
    cfg = config.Config(
        model=ModelConfig(llm="downloads/llm"),
        encoders=EncodersConfig(audio="openai/whisper-x", video="exp/video"),
    )
    for name in ("work/downloads/llm", "work/exp/video", "work/exp/x/best", "other/llm"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "other")
    found = checkpoint.resolve(cfg, tmp_path / "work/exp/x/best")
    assert found.model.llm == str(tmp_path / "work/downloads/llm")
    assert found.encoders.video == str(tmp_path / "work/exp/video")
    assert found.encoders.audio == "openai/whisper-x"  # an id of the hub
    (tmp_path / "work/exp/x").rename(tmp_path / "moved")
    for base in (tmp_path / "other", tmp_path / "other/llm"):  # the folder around it, or itself
        found = checkpoint.resolve(cfg, tmp_path / "moved/best", [base])
        assert found.model.llm == str(tmp_path / "other/llm")


def test_a_checkpoint_of_other_experts_is_refused(tmp_path, refused):
    save(baby_model(), tmp_path / "best")
    with refused("other experts", r"does not fit its configuration.*adapter"):
        decoding.load_into(baby_model(num_routed=6), tmp_path / "best")


def test_a_damaged_file_is_reported(tmp_path, refused):
    save(baby_model(), tmp_path / "best")
    path = tmp_path / "best" / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:100])
    with refused("a file that was cut off", "is damaged"):
        checkpoint.read(tmp_path / "best")
    with refused("no model in the folder", "a trained model is a folder with", FileNotFoundError):
        checkpoint.read(tmp_path / "nowhere")


def test_fingerprint_tells_weights_apart_but_not_adapters_or_precision():
    bare, adapted = baby_llm(), baby_model().llm
    assert checkpoint.fingerprint(bare) == checkpoint.fingerprint(adapted)
    low = baby_llm().bfloat16()
    assert checkpoint.fingerprint(low) == checkpoint.fingerprint(baby_llm().bfloat16().float())
    with torch.no_grad():
        bare.model.layers[1].mlp.up_proj.weight[0, 0] += 1
    assert checkpoint.fingerprint(bare) != checkpoint.fingerprint(adapted)


def test_a_model_folder_is_replaced_only_once_the_new_one_is_whole(tmp_path, monkeypatch):
    def save(value: float):
        checkpoint.save(tmp_path / "m", {"w": torch.tensor([value])}, Config(), {})

    save(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.config, "save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save(2.0)
    assert checkpoint.read(tmp_path / "m")["w"] == 1
    save(3.0)
    assert checkpoint.read(tmp_path / "m")["w"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_steps_are_listed_oldest_first_without_unfinished_ones(tmp_path):
    for name in ("step_12", "step_8", "step_100", "step_9.tmp", "latest"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    names = [path.name for path in checkpoint.steps(tmp_path)]
    assert names == ["step_8", "step_12", "step_100"]


def test_average_is_the_mean(tmp_path):
    for k in (1.0, 2.0, 6.0):
        checkpoint.save(tmp_path / f"s{k}", {"w": torch.full((2,), k)}, Config(), {})
    mean = checkpoint.average([tmp_path / f"s{k}" for k in (1.0, 2.0, 6.0)])
    assert torch.equal(mean["w"], torch.full((2,), 3.0))


def test_parts_of_another_model_are_copied_and_misfits_reported(tmp_path, refused):
    other, model = baby_model(position="mhsa"), baby_model(wake=False)
    checkpoint.save(tmp_path / "m", other.trained(), Config(), {})
    before = model.trained()["prompt.delimiters.audio_start"].clone()
    checkpoint.copy_parts(model, tmp_path / "m", ["projectors."])
    for name, parameter in model.trained().items():
        if name.startswith("projectors."):
            assert torch.equal(parameter, other.trained()[name])
    assert torch.equal(model.trained()["prompt.delimiters.audio_start"], before)
    wider = baby_model(projector_dim=13)
    with refused(
        "parts of another model", r"projectors\.audio\.hidden\.weight is \(13, 8\) in this"
    ):
        checkpoint.copy_parts(wider, tmp_path / "m", ["projectors."])


def test_experts_of_version_0_1_are_read(tmp_path):
    model, batch = baby_model(), random_batch()
    weights = {n: p.T if n.endswith(".adapter.out") else p for n, p in model.trained().items()}
    base = {"llm": "baby", "llm_fingerprint": checkpoint.fingerprint(model.llm)}
    checkpoint.save(tmp_path / "old", weights, Config(), base)
    other = baby_model(wake=False)
    decoding.load_into(other, tmp_path / "old")
    assert torch.equal(other(**batch)[0], model(**batch)[0])

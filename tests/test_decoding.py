"""Decoding: batches give what utterances give alone, sets are decoded once, errors name things."""

import json
from types import SimpleNamespace

import pytest
import torch
from conftest import WordTokenizer, baby_model, random_batch, row
from test_search import by_generate

from mome import checkpoint, config
from mome.bin.decode import missing_jobs, write_results
from mome.checkpoint import choose_scales, find_model
from mome.compression import Scale
from mome.config import Config, DecodeConfig, ModelConfig
from mome.decoding import (
    Hypothesis,
    decode,
    decode_scored,
    limit,
    other_video,
)

SCALE, SHORT = Scale(4, 2), {"tokens_per_second": 4.0, "extra_tokens": 3}
DEFAULT = DecodeConfig()


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("position", ["mhsa", "layer"])
def test_a_batch_gives_what_each_utterance_gives_alone(num_beams, position):
    model, batch = baby_model(position=position), random_batch()
    search = DecodeConfig(num_beams=num_beams, **SHORT)
    alone = [decode(model, WordTokenizer(), row(batch, b), SCALE, search)[0] for b in range(3)]
    assert decode(model, WordTokenizer(), batch, SCALE, search) == alone
    assert any(alone)


def test_greedy_equals_a_loop_without_cache():
    model, batch = baby_model(), row(random_batch(), 0)
    search = DecodeConfig(**SHORT)
    x = model.prompts(SCALE, **batch)[0]
    ids = []
    while len(ids) < limit(1.0, search):
        new = int(model.llm(inputs_embeds=x[None]).logits[0, -1].argmax())
        if new == model.eos:
            break
        ids.append(new)
        x = torch.cat([x, model.llm.get_input_embeddings()(torch.tensor([new]))])
    expected = WordTokenizer().batch_decode([torch.tensor(ids)])
    assert decode(model, WordTokenizer(), batch, SCALE, search) == expected


@pytest.mark.parametrize("num_beams", [1, 4])
def test_the_text_is_that_of_generate(num_beams):
    model, batch = baby_model(), row(random_batch(), 0)
    search = DecodeConfig(num_beams=num_beams, **SHORT)
    prompt = model.prompts(SCALE, **batch)[0]
    ids = by_generate(model.llm, prompt, limit(1.0, search), num_beams, 1.0)
    expected = WordTokenizer().batch_decode([ids])
    assert decode(model, WordTokenizer(), batch, SCALE, search) == expected


@torch.inference_mode()
@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_score_is_that_of_the_whole_text_read_at_once(num_beams):
    model, batch = baby_model(), random_batch()
    search = DecodeConfig(num_beams=num_beams, tokens_per_second=12.0, extra_tokens=0)
    found = decode_scored(model, WordTokenizer(), batch, SCALE, search)
    assert [h.text for h in found] == decode(model, WordTokenizer(), batch, SCALE, search)
    lengths = set()
    for hypothesis, prompt in zip(found, model.prompts(SCALE, **batch), strict=True):
        ids = [*(int(word[1:]) for word in hypothesis.text.split()), model.eos]
        words = model.llm.get_input_embeddings()(torch.tensor(ids))
        logits = model.llm(inputs_embeds=torch.cat([prompt, words])[None]).logits[0]
        logs = logits[len(prompt) - 1 : -1].log_softmax(-1)[range(len(ids)), ids]
        assert hypothesis.score == pytest.approx(float(logs.mean()), abs=1e-5)
        assert (hypothesis.num_tokens, hypothesis.num_prompt_tokens) == (len(ids), len(prompt))
        lengths.add(len(ids))
    assert len(lengths) > 1  # rows end at different steps


def test_two_runs_give_the_same_text():
    model, batch, search = baby_model(), random_batch(), DecodeConfig(num_beams=3, **SHORT)
    first = decode(model, WordTokenizer(), batch, SCALE, search)
    assert decode(model, WordTokenizer(), batch, SCALE, search) == first


def test_a_clip_gets_no_more_tokens_than_its_length_allows():
    model, batch = baby_model(), random_batch()
    search = DecodeConfig(tokens_per_second=2.0, extra_tokens=1)
    for text, seconds in zip(
        decode(model, WordTokenizer(), batch, SCALE, search), (1.0, 0.76, 0.8), strict=True
    ):
        assert len(text.split()) <= limit(seconds, search)


def test_scales_in_turn_and_interleaved_do_not_mix():
    model, batch, search = baby_model(), random_batch(), DecodeConfig(**SHORT)
    fine, coarse = Scale(4, 2), Scale(16, 5)
    first = [decode(model, WordTokenizer(), batch, s, search) for s in (fine, fine, coarse)]
    again = [decode(model, WordTokenizer(), batch, s, search) for s in (coarse, fine, coarse)]
    assert again == [first[2], first[0], first[2]]


def experiment(root) -> SimpleNamespace:
    """An experiment with a model of one weight, and two test sets."""
    exp_dir, sets_dir = root / "exp/x", root / "feats"
    checkpoint.save(exp_dir / "best", {"w": torch.ones(1)}, Config(), {})
    config.save(Config(), exp_dir / "config.yaml")
    for name in ("test", "test_babble_-7.5"):
        (sets_dir / name).mkdir(parents=True)
        (sets_dir / name / "text").write_text("s1-1 a b\n")
        (sets_dir / name / "feats.json").write_text("{}")
    return SimpleNamespace(exp_dir=exp_dir, sets_dir=sets_dir, model_dir=exp_dir / "best")


def jobs_of(exp, names, search=DEFAULT):
    pairs = [(name, SCALE) for name in names]
    return missing_jobs(pairs, exp.exp_dir, exp.model_dir, exp.sets_dir, search)


def test_a_set_is_decoded_once_and_again_when_model_search_or_set_change(tmp_path):
    exp = experiment(tmp_path)
    names = ["test", "test_babble_-7.5"]
    jobs = jobs_of(exp, names)
    assert [job.set_name for job in jobs] == names
    for job in jobs:
        found = {"s1-2": Hypothesis("", -2, 1, 9), "s1-1": Hypothesis("a b", -0.25, 3, 9)}
        write_results(job, found, tmp_path / "data/test", seconds=1.5)
    out_dir = exp.exp_dir / "decode_a4_v2/test"
    assert (out_dir / "text").read_text() == "s1-1 a b\ns1-2 \n"
    assert (out_dir / "score").read_text() == "s1-1 -0.250000\ns1-2 -2.000000\n"
    assert json.loads((out_dir / "decode.json").read_text())["seconds"] == 1.5
    assert jobs_of(exp, names) == []
    assert len(jobs_of(exp, names, DecodeConfig(num_beams=2))) == 2
    (exp.sets_dir / "test/feats.json").write_text('{"store_rate": 2}')
    assert [job.set_name for job in jobs_of(exp, names)] == ["test"]
    checkpoint.save(exp.model_dir, {"w": torch.zeros(1)}, Config(), {})
    assert len(jobs_of(exp, names)) == 2


def test_results_with_other_video_go_to_a_set_of_that_name(tmp_path):
    (job,) = jobs_of(experiment(tmp_path), ["test_babble_-7.5_other_video"])
    assert job.out_dir.name == "test_babble_-7.5_other_video"
    assert (job.set_name, job.video) == ("test_babble_-7.5", "other")


def test_a_set_or_a_model_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    exp = experiment(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no set tst; it has test, test_babble_-7\.5"):
        jobs_of(exp, ["tst"])
    for name in ("average", "checkpoints/step_8"):
        checkpoint.save(exp.exp_dir / name, {"w": torch.ones(1)}, Config(), {})
    with pytest.raises(FileNotFoundError, match="it has best, average, checkpoints/step_8"):
        find_model(exp.exp_dir, "bestt")
    assert find_model(exp.exp_dir, "average") == exp.exp_dir / "average"
    with pytest.raises(FileNotFoundError, match=r"nothing/config\.yaml is missing: run stage 3"):
        find_model(tmp_path / "nothing", "best")


def test_scales_are_all_trained_ones_or_those_named_with_a_warning(caplog):
    cfg = Config(model=ModelConfig(audio_rates=[4], video_rates=[2, 5]))
    assert choose_scales(cfg, None) == [Scale(4, 2), Scale(4, 5)]
    assert not caplog.text
    assert choose_scales(cfg, ["a4_v3"]) == [Scale(4, 3)]
    assert "scale a4_v3 was not trained; these were: a4_v2, a4_v5" in caplog.text


def test_each_utterance_gets_the_video_of_another_of_about_its_length():
    lengths = {"a": 30, "b": 10, "c": 20}
    data = SimpleNamespace(
        utterances=sorted(lengths),
        num_frames={"video": lengths},
        source=SimpleNamespace(scps={"video": {u: f"{u}.mouth" for u in lengths}}),
        dir="data/x",
    )
    assert other_video(data) == {"b": "c.mouth", "c": "a.mouth", "a": "b.mouth"}
    data.utterances = ["a"]
    with pytest.raises(ValueError, match="data/x has one utterance"):
        other_video(data)

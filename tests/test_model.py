import pytest
import torch
import torch.nn.functional as F
from conftest import baby_llm, baby_model, random_batch, row

from mome.compression import Scale, compress


def test_loss_equals_the_sequence_written_out():
    model, batch = baby_model(), random_batch()
    embed = model.llm.get_input_embeddings()
    nats = count = 0
    for b in range(3):
        one = row(batch, b)
        audio = model.projectors["audio"](compress(one["audio"], 4))[0]
        video = model.projectors["video"](compress(one["video"], 2))[0]
        d, text = model.prompt.delimiters, one["text"][0]
        prompt = [embed(model.bos), d["audio_start"], audio, d["audio_end"]]
        prompt += [d["video_start"], video, d["video_end"], embed(model.instruction)]
        sequence = torch.cat([*prompt, embed(text)])
        logits = model.llm(inputs_embeds=sequence[None]).logits[0, -len(text) - 1 :]
        targets = torch.cat([text, torch.tensor([model.eos])])
        nats += F.cross_entropy(logits, targets, reduction="sum")
        count += len(targets)
    loss, stats, weight = model(scales=["a4_v2"], **batch)
    torch.testing.assert_close(loss, nats / count, atol=1e-5, rtol=1e-5)
    assert weight == count
    assert set(stats) == {"loss", "loss_a4_v2"}


def test_loss_of_a_batch_is_the_mean_over_its_scales():
    model, batch = baby_model(), random_batch()
    loss, stats, _ = model(**batch)
    each = [model(scales=[str(s)], **batch)[0] for s in model.scales]
    torch.testing.assert_close(loss, torch.stack(each).mean())
    assert {f"loss_{s}" for s in model.scales} <= set(stats)


def test_padding_changes_nothing():
    model, batch = baby_model(), random_batch()
    longer = dict(batch)
    for name in ("audio", "video"):
        longer[name] = F.pad(batch[name], (0, 0, 0, 9), value=7.0)
    torch.testing.assert_close(model(**batch)[0], model(**longer)[0])


def test_gradients_reach_all_that_is_trained_and_nothing_else():
    model = baby_model().train()
    model(**random_batch())[0].backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == set(model.trained())
    assert any("projectors" in n for n in with_gradient)
    assert any("delimiters" in n for n in with_gradient)


def test_the_frozen_llm_stays_in_eval_mode():
    model = baby_model().train()
    assert model.training and not model.llm.training
    assert all(m.training for n, m in model.llm.named_modules() if n.endswith("adapter"))


def test_balance_loss_is_part_of_training_and_not_of_validation():
    model, batch = baby_model(), random_batch()
    plain = model(scales=["a4_v2"], **batch)[0]
    loss, stats, _ = model.train()(scales=["a4_v2"], **batch)
    torch.testing.assert_close(loss, plain + 0.01 * stats["balance_a4_v2"])


def test_dropped_audio_is_zeroed_for_those_utterances_alone():
    model, batch = baby_model(), random_batch()
    kept = torch.tensor([True, False, True])
    zeroed = dict(batch, audio=batch["audio"] * kept[:, None, None])
    torch.testing.assert_close(model(audio_kept=kept, **batch)[0], model(**zeroed)[0])


@pytest.mark.parametrize("task, stream", [("asr", "audio"), ("vsr", "video")])
def test_a_task_of_one_stream_ignores_the_other(task, stream):
    model, batch = baby_model(task=task), random_batch()
    other = {"audio": "video", "video": "audio"}[stream]
    loss = model(**batch)[0]
    changed = dict(batch, **{other: batch[other] + 1})
    torch.testing.assert_close(model(**changed)[0], loss)


def test_a_clip_too_short_for_a_scale_is_named():
    model, batch = baby_model(), random_batch(lengths=((50, 25), (14, 7)), text=(6, 3))
    with pytest.raises(ValueError, match="audio: rate 16 needs at least 16 frames, got 14 in s1"):
        model(scales=["a16_v2"], **batch)


def test_a_scale_of_another_task_is_refused():
    with pytest.raises(ValueError, match="scale a4 is not one of task avsr, like a4_v2"):
        baby_model().prompts(Scale(4, None), **random_batch())


def test_a_fresh_model_gives_the_frozen_llm_logits():
    model, batch = baby_model(wake=False), random_batch()
    prompt = model.prompts(Scale(4, 2), **batch)[0][None]
    expected = baby_llm()(inputs_embeds=prompt).logits
    assert torch.equal(model.llm(inputs_embeds=prompt).logits, expected)


def test_alignment_loss_equals_ctc_by_cosine_and_leaves_out_dropped_audio():
    model, batch = baby_model(), random_batch(text=(3, 2, 2))
    model.add_alignment(range(3, 32), 0.2)
    model.train()
    one = row(batch, 1)
    table = F.normalize(model.llm.get_input_embeddings().weight[3:32].float(), dim=1)
    expected = 0
    for stream, tokens in model.project(Scale(4, 2), **one).items():
        unit = F.normalize(tokens[0], dim=1)
        blank = model.alignment.blank[stream](unit * 16**0.5 / 10)
        scores = torch.cat([blank, 20 * unit @ table.T], dim=1).log_softmax(1)
        target = one["text"][0] - 2
        lengths = torch.tensor(len(scores)), torch.tensor(len(target))
        expected += F.ctc_loss(scores, target, *lengths, reduction="sum") / len(target)
    torch.testing.assert_close(model.ctc_loss(**one), expected)
    loud = dict(batch, audio=batch["audio"] * 9)
    kept = torch.zeros(3, dtype=torch.bool)
    a = model.ctc_loss(audio_kept=kept, **batch)
    torch.testing.assert_close(a, model.ctc_loss(audio_kept=kept, **loud))

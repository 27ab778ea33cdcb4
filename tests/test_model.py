import pytest
import torch
import torch.nn.functional as F
from conftest import WordTokenizer, baby_llm, baby_model, random_batch, row

from mome.compression import Scale, compress
from mome.config import ModelConfig
from mome.experts import balance_loss
from mome.inject import adapters
from mome.model import MoMEModel


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
        prompt += [d["video_start"], video, d["video_end"], embed(model.instruction_avsr)]
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


# Every system of the paper and every baseline, at a size for tests.
SYSTEMS = {
    "mome_mhsa": {"position": "mhsa"},
    "mome_ffn": {"position": "ffn"},
    "mome_layer": {"position": "layer"},
    "disjoint_routers": {"router": "per_scale"},
    "static_top_k": {"router": "static"},
    "no_shared_expert": {"num_shared": 0, "renormalise": True},
    "plain": {"adapter": "plain", "plain_dim": 7},
    "llama_avsr": {"adapter": "lora", "lora_rank": 4, "audio_rates": [4], "video_rates": [2]},
    "mtsk_ms": {"adapter": "lora", "lora_rank": 4},
    "mtsk_ss": {"adapter": "lora", "lora_rank": 4, "lora_form": "ss"},
    "mtsk_mss": {"adapter": "lora", "lora_rank": 4, "lora_form": "mss"},
    "mtsk_mss_peers": {"adapter": "lora", "lora_form": "mss", "adapter_init": "peers"},
    "per_rate": {"projector": "per_rate"},
    "stacked": {"projector": "per_rate", "compression": "stack"},
    "all_tasks": {"task": "all"},
}
each_system = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)


@each_system
def test_gradients_reach_all_that_is_trained_and_nothing_else(system):
    model = baby_model(**system).train()
    model(**random_batch())[0].backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == set(model.trained())
    assert any("projectors" in n for n in with_gradient)
    assert any("delimiters" in n for n in with_gradient)


@each_system
def test_one_scale_a_step_leaves_no_weight_of_the_adapters_without_a_gradient(system):
    model = baby_model(**system).train()
    model(scales=[str(model.scales[-1])], **random_batch())[0].backward()
    assert all(p.grad is not None for n, p in model.trained().items() if ".adapter." in n)


@pytest.mark.parametrize("name", ["mome_mhsa", "mome_ffn", "mome_layer", "plain", "mtsk_ms"])
def test_unit_start_makes_up_for_the_norms_of_the_llm(name):
    llm = baby_llm()
    for layer in llm.model.layers:
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            torch.nn.init.normal_(norm.weight, std=0.05)
    settings = {"plain_dim": 400, "lora_rank": 400, "expert_dim": 60, "router_gain": 2.0}
    cfg = ModelConfig(llm="baby", **{**SYSTEMS[name], **settings, "adapter_init": "unit"})
    MoMEModel(cfg, llm, WordTokenizer(), {"audio": 8, "video": 6})
    seen = []
    for adapter in adapters(llm):
        adapter.register_forward_hook(lambda adapter, args, _: seen.append((adapter, args[0])))
    llm(torch.arange(32)[None])
    assert len(seen) >= 2
    for adapter, x in seen:
        weight = adapter.input_weights()[0].flatten(0, -2)
        assert F.linear(x, weight).std().item() == pytest.approx(1.0, abs=0.25)
        if name.startswith("mome"):
            assert F.linear(x, adapter.router.weight).std().item() == pytest.approx(2.0, abs=0.6)


@each_system
def test_a_fresh_model_gives_the_frozen_llm_logits(system):
    model, batch = baby_model(wake=False, **system), random_batch()
    prompt = model.prompts(model.scales[0], **batch)[0][None]
    expected = baby_llm()(inputs_embeds=prompt).logits
    assert torch.equal(model.llm(inputs_embeds=prompt).logits, expected)


@each_system
def test_recomputed_layers_give_the_same_loss_and_gradients(system):
    kept, again = baby_model(**system).train(), baby_model(**system)
    again.checkpoint_gradients()
    again.train()
    forwards = []
    again.llm.model.layers[0].mlp.register_forward_pre_hook(lambda *_: forwards.append(1))
    losses = [model(**random_batch())[0] for model in (kept, again)]
    for loss in losses:
        loss.backward()
    assert len(forwards) == 2 * len(again.scales)  # each layer ran twice
    torch.testing.assert_close(*losses)
    for (name, a), b in zip(kept.trained().items(), again.trained().values(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    assert not again.llm.model.layers[0].mlp.training


@pytest.mark.parametrize("name", ["disjoint_routers", "mtsk_ss", "mtsk_mss"])
def test_parts_of_other_scales_get_no_gradient(name):
    model = baby_model(**SYSTEMS[name]).train()
    model(scales=["a4_v5"], **random_batch())[0].backward()
    adapter = adapters(model.llm)[0]
    if name == "disjoint_routers":
        grads = adapter.router.weight.grad.unflatten(0, (4, -1))
    else:
        grads = adapter.b_POK.grad
    used = [bool(grad.any()) for grad in grads]
    assert used == [*{"mtsk_mss": [True]}.get(name, []), False, True, False, False]


@each_system
def test_scales_in_turn_and_interleaved_give_the_same_losses(system):
    model, batch = baby_model(**system), random_batch()
    names = [str(s) for s in model.scales]
    in_turn = {n: model(scales=[n], **batch)[0] for n in names}
    for n in [*reversed(names), *names]:
        assert torch.equal(model(scales=[n], **batch)[0], in_turn[n])
    together = model(scales=names, **batch)[1]
    assert all(together[f"loss_{n}"] == in_turn[n] for n in names)


@each_system
def test_an_untrained_scale_is_taken_where_nothing_belongs_to_a_scale(system):
    model, batch = baby_model(**system), random_batch()
    per_scale = system.get("router") == "per_scale" or system.get("lora_form") in ("ss", "mss")
    if per_scale or system.get("projector") == "per_rate":
        with pytest.raises(
            ValueError, match=r"scale a8_v3 was not trained, .* choose one of a4_v2"
        ):
            model.prompts(Scale(8, 3), **batch)
    else:
        audio, video = model.project(Scale(8, 3), **batch).values()
        assert (len(audio[0]), len(video[0])) == (7, 9)


def test_one_model_for_three_tasks_has_the_scales_and_prompts_of_each():
    model, batch = baby_model(task="all"), random_batch()
    assert [str(s) for s in model.scales][3:] == ["a16_v5", "a4", "a16", "v2", "v5"]
    for task in ("asr", "vsr", "avsr"):
        alone = baby_model(task=task)
        alone.load_state_dict(model.state_dict(), strict=False)
        name = str(alone.scales[0])
        torch.testing.assert_close(
            model(scales=[name], **batch)[0], alone(scales=[name], **batch)[0]
        )


def test_weights_of_scales_and_tasks_count():
    batch = random_batch()
    weights = {"scale_weights": {"a4": 3.0}, "task_weights": {"asr": 2.0, "vsr": 0.5}}
    model, plain = baby_model(task="all", **weights), baby_model(task="all")
    loss = {n: plain(scales=[n], **batch)[0] for n in ("a4", "v2", "a4_v2")}
    expected = (6 * loss["a4"] + 0.5 * loss["v2"] + loss["a4_v2"]) / 3
    torch.testing.assert_close(model(scales=["a4", "v2", "a4_v2"], **batch)[0], expected)
    with pytest.raises(ValueError, match="scale_weights names a5, but the scales are a4_v2"):
        baby_model(scale_weights={"a5": 2.0})


def test_stacking_at_several_rates_needs_a_projector_for_each():
    with pytest.raises(ValueError, match="needs a projector per rate"):
        baby_model(compression="stack")


def test_the_frozen_llm_stays_in_eval_mode():
    model = baby_model().train()
    assert model.training and not model.llm.training
    assert all(m.training for n, m in model.llm.named_modules() if n.endswith("adapter"))


def test_balance_loss_is_part_of_training_and_not_of_validation():
    model, batch = baby_model(), random_batch()
    plain = model(scales=["a4_v2"], **batch)[0]
    loss, stats, _ = model.train()(scales=["a4_v2"], **batch)
    torch.testing.assert_close(loss, plain + 0.01 * stats["balance_a4_v2"])


@pytest.mark.parametrize("over", ["batch", "utterance"])
def test_the_load_is_balanced_over_the_batch_or_over_each_utterance(over):
    model, batch = baby_model(balance_over=over).train(), random_batch()
    stats = model(scales=["a4_v2"], **batch)[1]
    routed = [adapter.probs_BNR for adapter in adapters(model.llm)]
    prompts = model.prompts(Scale(4, 2), **batch)
    lengths = [len(p) + int(n) for p, n in zip(prompts, batch["text_lengths"], strict=True)]
    expected = []
    for probs_BNR in routed:
        rows = [probs_NR[:n] for probs_NR, n in zip(probs_BNR, lengths, strict=True)]
        if over == "batch":
            rows = [torch.cat(rows)]
        expected += [balance_loss(row[None], model.config.num_active) for row in rows]
    torch.testing.assert_close(stats["balance_a4_v2"], torch.stack(expected).mean())


@pytest.mark.parametrize("stream", ["audio", "video"])
def test_a_dropped_stream_is_zeroed_for_those_utterances_alone(stream):
    model, batch = baby_model(), random_batch()
    kept = torch.tensor([True, False, True])
    zeroed = dict(batch, **{stream: batch[stream] * kept[:, None, None]})
    dropped = dict(batch, **{f"{stream}_kept": kept})
    torch.testing.assert_close(model(**dropped)[0], model(**zeroed)[0])


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


def test_alignment_loss_equals_ctc_by_cosine_and_leaves_out_dropped_streams():
    model, batch = baby_model(), random_batch(text=(3, 2, 2))
    model.add_alignment(range(3, 32), 0.2)
    model.train()
    one = row(batch, 1)
    table = F.normalize(model.llm.get_input_embeddings().weight[3:32].float(), dim=1)

    def expected(stream: str, scale: Scale) -> torch.Tensor:
        unit = F.normalize(model.project(scale, **one)[stream][0], dim=1)
        blank = model.alignment.blank[stream](unit * 16**0.5 / 10)
        scores = torch.cat([blank, 20 * unit @ table.T], dim=1).log_softmax(1)
        target = one["text"][0] - 2
        lengths = torch.tensor(len(scores)), torch.tensor(len(target))
        return F.ctc_loss(scores, target, *lengths, reduction="sum") / len(target)

    fine, coarse = Scale(4, 2), Scale(4, 5)  # audio at 16 has too few tokens for CTC
    audio, video = expected("audio", fine), [expected("video", s) for s in (fine, coarse)]
    torch.testing.assert_close(model.ctc_loss(["a16_v5"], **one), audio + video[1])
    torch.testing.assert_close(model.ctc_loss(["a4_v2"], **one), audio + video[0])
    torch.testing.assert_close(model.ctc_loss(**one), audio + sum(video) / 2)
    kept = torch.zeros(3, dtype=torch.bool)
    for stream in ("audio", "video"):
        dropped = dict(batch, **{f"{stream}_kept": kept})
        loud = dict(dropped, **{stream: batch[stream] * 9})
        torch.testing.assert_close(model.ctc_loss(**dropped), model.ctc_loss(**loud))

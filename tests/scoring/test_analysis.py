"""What is seen of the model: tokens in their places, the router's own choices, hidden states."""

import pytest
import torch
import torch.nn.functional as F
from conftest import baby_model, random_batch, row

from mome.compression import Scale
from mome.inject import adapters
from mome.scoring.analysis import (
    MOST_MOMENTS,
    Layout,
    layouts_of,
    moments_of,
    read_at_scales,
    token_cosines,
)
from mome.scoring.routing import KINDS

SCALES = [Scale(4, 2), Scale(16, 5)]


@pytest.mark.parametrize("drop_tail", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_each_frame_points_to_the_token_that_covers_it(scale, drop_tail):
    model, batch = baby_model(drop_tail=drop_tail), random_batch()
    prompts, projected = model.prompts(scale, **batch), model.project(scale, **batch)
    for b, layout in enumerate(layouts_of(model, batch, scale)):
        num_text = int(batch["text_lengths"][b])
        assert len(layout.kind_N) == len(prompts[b]) + num_text
        for stream, rate in (("audio", scale.audio), ("video", scale.video)):
            places, tokens = layout.at_frame[stream], projected[stream][b]
            num_frames = int(batch[f"{stream}_lengths"][b])
            assert len(places) == (len(tokens) * rate if drop_tail else num_frames)
            for frame, place in enumerate(places):
                assert torch.equal(prompts[b][place], tokens[frame // rate])
            of_kind = (layout.kind_N == KINDS.index(stream)).nonzero().flatten()
            assert of_kind.tolist() == places.unique().tolist()
        text = [len(prompts[b]) + n for n in range(num_text)]
        assert layout.at_frame["text"].tolist() == text
        assert (layout.kind_N == KINDS.index("text")).nonzero().flatten().tolist() == text


@pytest.mark.parametrize("num_frames", [31, 32, 150, 3000])
@pytest.mark.parametrize("scales", [SCALES, [Scale(12, 1), Scale(8, 7)]])
def test_moments_are_other_tokens_at_the_same_time_in_every_stream(num_frames, scales):
    layouts = [
        Layout(
            torch.tensor([]),
            {
                "audio": torch.arange(num_frames) // scale.audio,
                "video": torch.arange(num_frames // 2) // scale.video,
            },
        )
        for scale in scales
    ]
    frames = moments_of(layouts, scales)
    longest = max(max(scale.audio, 2 * scale.video) for scale in scales)
    num_audio = num_frames // 2 * 2
    assert len(frames["audio"]) == min(num_audio // longest, MOST_MOMENTS)
    assert torch.equal(frames["audio"] // 2, frames["video"])
    for layout in layouts:
        for stream, place in layout.at_frame.items():
            tokens = place[frames[stream]]
            assert len(tokens.unique()) == len(tokens)


@pytest.mark.parametrize("router", ["shared", "per_scale", "static"])
@pytest.mark.parametrize("position", ["mhsa", "ffn", "layer"])
def test_the_probabilities_are_those_that_the_balance_loss_sees(router, position):
    model, batch = baby_model(router=router, position=position), random_batch()
    readings = read_at_scales(model, batch, SCALES)
    model.train()
    for scale in SCALES:
        model(scales=[str(scale)], **batch)
        seen = torch.stack([a.probs_BNR for a in adapters(model.llm)], dim=1)
        for b, reading in enumerate(readings):
            probs = reading[scale].probs_ANR
            num = len(reading[scale].layout.kind_N)
            torch.testing.assert_close(probs, seen[b, :, :num], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("adapter", ["mome", "lora", "plain"])
def test_states_are_those_of_transformers_for_the_utterance_alone(adapter):
    model, batch = baby_model(adapter=adapter, lora_rank=2, plain_dim=3), random_batch()
    readings = read_at_scales(model, batch, SCALES)
    for b, reading in enumerate(readings):
        assert (reading[SCALES[0]].probs_ANR is None) == (adapter != "mome")
        moments = moments_of([r.layout for r in reading.values()], SCALES)
        assert len(moments["audio"]) > 0
        for scale in SCALES:
            alone = row(batch, b)
            text = model.llm.get_input_embeddings()(alone["text"][0])
            x_BND = torch.cat([model.prompts(scale, **alone)[0], text])[None]
            out = model.llm.model(inputs_embeds=x_BND, output_hidden_states=True)
            hidden = [*out.hidden_states[:-1]]  # transformers normalises the last one
            for stream in ("audio", "video"):
                places = reading[scale].layout.at_frame[stream][moments[stream]]
                found = reading[scale].states[stream]
                assert len(found) == len(hidden) + 1
                for states, expected in zip(found, hidden, strict=False):
                    expected = F.normalize(expected[0, places], dim=-1)
                    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-4)


def test_no_hook_stays():
    model, batch = baby_model(), random_batch()
    before, _, _ = model(**batch)
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    read_at_scales(model, batch, SCALES)
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] == hooks
    assert torch.equal(model(**batch)[0], before)


def test_cosines_of_one_utterance_are_those_of_its_projected_tokens():
    model, batch = baby_model(), random_batch()
    panels = token_cosines(model, batch, SCALES)["panels"]
    names = [(panel["rows"], panel["columns"]) for panel in panels]
    assert names == [
        ("audio a4", "audio a16"),
        ("video v2", "video v5"),
        ("audio a4", "video v2"),
        ("audio a16", "video v5"),
    ]
    tokens = [model.project(scale, **batch) for scale in SCALES]
    expected = F.cosine_similarity(
        tokens[0]["audio"][0][:, None], tokens[1]["audio"][0][None], dim=-1
    )
    torch.testing.assert_close(torch.tensor(panels[0]["cosine"]), expected, atol=1e-5, rtol=1e-4)
    assert panels[0]["rows_s"][:2] == [0, 0.08] and panels[0]["rows_s"][-1] == 1.0  # 50 frames
    assert panels[1]["columns_s"] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


def test_one_rate_is_compared_with_itself():
    model = baby_model(task="asr", audio_rates=[4])
    panels = token_cosines(model, random_batch(), [Scale(4, None)])["panels"]
    cosine = torch.tensor(panels[0]["cosine"])
    assert len(panels) == 1
    torch.testing.assert_close(cosine.diagonal(), torch.ones(len(cosine)))

"""Times and memory of a clip: what belongs to prompt and text, rounds, encoders of true shapes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import baby_model
from torch import nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mome.avhubert import AVHuBERT
from mome.compression import Scale
from mome.config import DecodeConfig, EncodersConfig
from mome.decoding import decode
from mome.scoring import scale_cost, timing


class Clock:
    """A clock that moves when told."""

    def __init__(self):
        self.time = 100.0

    def __call__(self, device: str = "cpu") -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(timing, "now", found)
    return found


def fake_llm(clock: Clock, num_tokens: int):
    """An LLM whose layers take 10 s for the prompt and 2 s for a token, and a search around it."""

    class Layers(nn.Module):
        def forward(self, seconds):
            clock.time += seconds

    layers = Layers()
    llm = SimpleNamespace(model=layers)

    def search():
        clock.time += 1  # the projectors
        layers(10)
        clock.time += 0.5  # the head and the choice of a token
        for _ in range(num_tokens):
            layers(2)
            clock.time += 0.5

    return llm, search


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_prompt_and_text_are_told_apart_and_only_layers_are_multiplied(clock, factor):
    llm, search = fake_llm(clock, 5)
    found = timing.time_decoding(search, llm, 5, "cpu", factor)
    assert found["prefill_s"] == pytest.approx(1 + 10 * factor + 0.5)
    assert found["token_s"] == pytest.approx(2 * factor + 0.5)
    assert found["decode_s"] == pytest.approx(5 * found["token_s"])
    assert not llm.model._forward_hooks and not llm.model._forward_pre_hooks


@pytest.mark.parametrize("num_beams", [1, 3])
def test_the_text_has_the_number_of_tokens_that_was_asked_for(num_beams):
    model = baby_model()
    with torch.no_grad():  # an LLM that would end at once
        model.llm.lm_head.weight.zero_()
        model.llm.lm_head.weight[model.eos] = model.llm.model.norm.weight
    seen = []

    class Ids:
        bos_token_id, eos_token_id = 1, 2

        def batch_decode(self, rows, skip_special_tokens=True):
            seen.append(rows)
            return [""]

    batch = timing.random_frames(1.0, {"audio": 8, "video": 6}, "cpu")
    search = DecodeConfig(num_beams=num_beams, tokens_per_second=0.0, extra_tokens=7)

    def call():
        decode(model, Ids(), batch, Scale.parse("a4_v2"), search, fill=True)

    found = timing.time_decoding(call, model.llm, 7, "cpu")
    (((*ids, last),),) = seen
    assert len(ids) == 7 and model.eos not in ids and last == model.eos
    assert found["peak_bytes"] > 1e8 and min(found.values()) > 0


def test_a_peak_of_memory_is_seen_and_forgotten():
    if not torch.cuda.is_available():
        timing.reset_peak("cpu")
        before = timing.peak_bytes("cpu")
        np.ones(2**25)  # 256 MB
        assert timing.peak_bytes("cpu") - before > 2e8
        timing.reset_peak("cpu")
        assert timing.peak_bytes("cpu") - before < 1e8


def test_there_are_as_many_rounds_as_the_budget_has_time_for(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing.time, "monotonic", clock)
    made = []

    def call(name):
        made.append(name)
        clock.time += 10
        return {"x": clock.time}

    calls = {name: lambda name=name: call(name) for name in "ab"}
    for budget, number in ((0, 1), (49, 1), (50, 2), (75, 3)):
        made.clear()
        found = timing.rounds(calls, budget, num_before=1)
        assert [len(results) for results in found.values()] == [number, number]
        assert made == ["a", *"ab" * number]


def test_rows_get_medians_and_the_encoders_that_their_scale_uses(monkeypatch):
    encoders = {"audio": object(), "video": object()}
    times = {"audio": iter([1.0, 2.0, 9.0]), "video": iter([10.0, 20.0, 30.0])}
    names = {id(encoder): name for name, encoder in encoders.items()}
    monkeypatch.setattr(
        timing, "time_encoder", lambda e, media, device: {"encode_s": next(times[names[id(e)]])}
    )
    prefill = iter([5.0, 3.0, 4.0])
    calls = {
        (2.0, "a4_v2"): lambda: {"prefill_s": next(prefill), "token_s": 0.5, "decode_s": 4.0},
        (2.0, "a4"): lambda: {"prefill_s": 1.0, "token_s": 0.5, "decode_s": 4.0},
    }

    def three_rounds(every, budget_s, num_before):
        assert list(every)[:num_before] == [(2.0, "audio"), (2.0, "video"), (2.0, "a4_v2")]
        return {key: [call() for _ in range(3)] for key, call in every.items()}

    monkeypatch.setattr(timing, "rounds", three_rounds)
    rows = [{"clip_s": 2.0, "scale": scale} for _, scale in calls]
    assert timing.measure(rows, calls, encoders, "cpu", 1.0) == 3
    assert [row["encode_s"] for row in rows] == [22.0, 2.0]
    assert rows[0]["prefill_s"] == 4.0 and rows[0]["real_time_factor"] == (22 + 4 + 4) / 2


def test_media_and_frames_have_the_length_of_the_clip():
    media = timing.random_media(1.2)
    assert len(media["audio"]) == 19_200 and media["video"].shape == (30, 96, 96)
    batch = timing.random_frames(1.2, {"audio": 8, "video": 6}, "cpu")
    frames = {stream: batch[f"{stream}_lengths"].item() for stream in ("audio", "video")}
    assert frames == scale_cost.num_frames(1.2) == {"audio": 60, "video": 30}


@pytest.mark.parametrize("width, millions", [(384, 8.2), (512, 20.6), (768, 88.2)])
def test_whisper_has_its_true_size(width, millions):
    with torch.device("meta"):
        whisper = WhisperEncoder(timing.whisper_shape("openai/whisper-x", width))
    assert sum(p.numel() for p in whisper.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_avhubert_has_its_true_size():
    with torch.device("meta"):
        large, base = (
            AVHuBERT(timing.avhubert_shape("downloads/none", width)) for width in (1024, 768)
        )
    assert len(large.state_dict()) > len(base.state_dict())
    assert large.config.num_layers == 24 and base.config.num_layers == 12


def test_encoders_come_from_their_folders(encoder_dirs):
    config = EncodersConfig(audio=encoder_dirs["audio"], video=encoder_dirs["video"])
    dims = {"audio": 64, "video": 16}
    found = timing.random_encoders(config, dims, ["audio", "video"], "cpu")
    assert {stream: encoder.dim for stream, encoder in found.items()} == dims
    media = timing.random_media(0.4)
    for stream, encoder in found.items():
        assert timing.time_encoder(encoder, media[stream], "cpu")["encode_s"] > 0
    assert timing.random_encoders(config, dims, ["video"], "cpu").keys() == {"video"}


def test_an_encoder_of_unknown_shape_is_an_error_that_says_what_to_do():
    config = EncodersConfig(audio="downloads/baby-whisper")
    with pytest.raises(ValueError, match=r"downloads/baby-whisper is not known.*--no_timing"):
        timing.random_encoders(config, {"audio": 64, "video": 32}, ["audio"], "cpu")

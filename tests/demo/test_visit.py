"""A visit of the demo: the states it tells, its limits, noise, and how it ends. Needs no gradio."""

import queue
import time
from itertools import pairwise

import numpy as np
import pytest
import torch

import mome
from mome.bin import demo
from mome.data import noise
from mome.demo import fragments, visit
from mome.demo.state import Limits, Reading, Request, State


def test_the_text_grows_and_ends_as_transcribe_has_it_at_both_scales(model, clip):
    told, host = [], visit.ModelHost(model)
    host._work(Request(clip, ["a2", "a4"]), told.append)
    assert told[0] == State() and told[1].clip_s == pytest.approx(2.0)
    for k, scale in enumerate(["a2", "a4"]):
        texts = [s.readings[k].text for s in told if len(s.readings) == k + 1]
        assert len(set(texts)) > 2, "the text comes in pieces"
        assert all(b.startswith(a) for a, b in pairwise(texts))
        assert texts[-1] == mome.transcribe(model, clip, scale).text
        assert told[-1].readings[k].transcript.scale == scale
    assert [s.is_done for s in told] == [False] * (len(told) - 1) + [True]


def test_serve_ends_with_the_last_state(model, clip):
    states = list(visit.ModelHost(model).serve(Request(clip, ["a4"])))
    assert (
        states[-1].is_done
        and states[-1].readings[0].text == mome.transcribe(model, clip, "a4").text
    )


def test_who_leaves_ends_the_work(model, clip, monkeypatch):
    """At the next token; the next visitor is not kept waiting."""
    num_told = []

    def transcribe(model, recording, scale, on_text):
        for k in range(10_000):
            num_told.append(k)
            on_text("word")
            time.sleep(0.001)

    monkeypatch.setattr(mome, "transcribe", transcribe, raising=False)
    host = visit.ModelHost(model)
    states = host.serve(Request(clip, ["a4"]))
    assert next(s for s in states if s.readings).readings[0].text == "word"
    states.close()
    assert host.lock.acquire(timeout=10), "the work goes on"
    assert len(num_told) < 10_000


def test_only_the_newest_state_is_shown_and_errors_are_raised():
    news: queue.SimpleQueue = queue.SimpleQueue()
    for item in (State(1), State(2), None):
        news.put(item)
    assert [s.clip_s for s in visit.latest(news)] == [2]
    for item in (State(1), ValueError("broken")):
        news.put(item)
    with pytest.raises(ValueError, match="broken"):
        list(visit.latest(news))


@pytest.mark.parametrize(
    ("limits", "message"),
    [(Limits(seconds=0.5), "lasts 2 s"), (Limits(megabytes=0.01), "at most 0.01 MB")],
)
def test_a_clip_beyond_the_limits_is_refused(model, clip, limits, message):
    with pytest.raises(ValueError, match=message):
        list(visit.ModelHost(model, limits).serve(Request(clip, ["a4"])))


def test_the_length_is_that_of_the_packets(clip, tmp_path):
    assert visit.seconds_of(clip) == pytest.approx(2.0, abs=0.05)
    (tmp_path / "broken.mp4").write_text("no video")
    assert visit.seconds_of(tmp_path / "broken.mp4") == 0


@pytest.mark.parametrize("kind", noise.MADE)
def test_noise_has_the_snr_that_was_asked_for(model, clip, kind):
    host = visit.ModelHost(model, voices=[clip])
    assert kind in host.noises and "babble" not in visit.ModelHost(model).noises
    clean = mome.open_recording(model, clip)
    noisy = host.with_noise(clean, Request(clip, ["a4"], kind, -5.0))
    added = noise.power(noisy.sound - clean.sound)
    assert 10 * np.log10(noise.power(clean.sound) / added) == pytest.approx(-5, abs=1e-3)
    again = host.with_noise(clean, Request(clip, ["a4"], kind, -5.0))
    np.testing.assert_array_equal(noisy.sound, again.sound)


def test_figures_are_those_of_the_transcript(model, clip):
    found = mome.transcribe(model, clip, "a4")
    (segment,) = found.segments
    state = State(2.0, 0.5, readings=(Reading("a4", found.text, 1.5, found),))
    figures = fragments.figures_of(state, state.readings[0], lambda p, t: 10**9 * (p + t))
    total = segment.num_prompt_tokens + segment.num_tokens
    assert figures["Operations of the LLM"] == f"{total:.1f} GFLOP"
    assert figures["Tokens that the LLM reads"] == str(segment.num_prompt_tokens)
    assert figures["Real-time factor"] == "1.00"
    assert figures["Mean probability of these"] == f"{100 * np.exp(segment.score):.0f} %"


def test_operations_are_those_that_pytorch_counts(model, clip):
    """With one beam: the prompt, then each token of the text, but for EOS, which is not read."""
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.zeros(1, 9, 16)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        cache = model.model.llm.model(inputs_embeds=x[:, :8], use_cache=True).past_key_values
        for _ in range(3):  # the last token of the prompt, two of the text
            out = model.model.llm(inputs_embeds=x[:, :1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
    own = demo.flops_of(model, 9, 3)
    assert own == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_a_clip_in_which_nothing_is_heard_is_done_too():
    state = State(warnings=["its sound is silent"], readings=(Reading("a4"),), is_done=True)
    assert "silent" in fragments.notes(state) and "Done" in fragments.notes(state)
    assert "Reading the clip" in fragments.notes(State())


def test_texts_are_escaped():
    state = State(1.0, readings=(Reading("a4", "<b>"),), warnings=["<i>"])
    assert "&lt;b&gt;" in fragments.results(state, lambda p, t: 0)
    assert "&lt;i&gt;" in fragments.notes(state)

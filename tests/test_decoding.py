import pytest
import torch
from conftest import WordTokenizer, baby_model, random_batch, row

from mome.compression import Scale
from mome.config import DecodeConfig
from mome.decoding import Limit, decode, limit

SCALE, SHORT = Scale(4, 2), {"tokens_per_second": 4.0, "extra_tokens": 3}


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
def test_the_prompt_computed_once_gives_what_plain_generation_gives(num_beams):
    model, batch = baby_model(), row(random_batch(), 0)
    search = DecodeConfig(num_beams=num_beams, **SHORT)
    prompt = model.prompts(SCALE, **batch)[0][None]
    plain = model.llm.generate(
        inputs_embeds=prompt,
        attention_mask=torch.ones(prompt.shape[:2], dtype=torch.long),
        num_beams=num_beams,
        do_sample=False,
        max_new_tokens=limit(1.0, search) + 1,
        logits_processor=[Limit([limit(1.0, search)], num_beams, model.eos)],
        eos_token_id=model.eos,
        pad_token_id=model.eos,
    )
    expected = WordTokenizer().batch_decode(plain)
    assert decode(model, WordTokenizer(), batch, SCALE, search) == expected


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

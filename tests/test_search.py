"""The search finds what Hugging Face's `generate` finds, and does less for it."""

import math
from collections import Counter

import pytest
import torch
from conftest import baby_llm
from test_llms import FAMILIES
from transformers import AttentionInterface, AutoModelForCausalLM, LogitsProcessor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from mome.search import Beam, Tree, Utterance, search

EOS = 2


class EndAt(LogitsProcessor):
    """EOS alone after so many tokens, with its own score."""

    def __init__(self, limit: int):
        self.limit = limit

    def __call__(self, input_ids, scores):
        if input_ids.shape[1] < self.limit:
            return scores
        end = torch.full_like(scores, -math.inf)
        end[:, EOS] = scores[:, EOS]
        return end


def by_generate(llm, prompt, limit, num_beams, length_penalty) -> list[int]:
    """The ids that `generate` finds after one prompt, to the first EOS."""
    ids = llm.generate(
        inputs_embeds=prompt[None],
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=limit + 1,
        logits_processor=[EndAt(limit)],
        num_beams=num_beams,
        length_penalty=length_penalty if num_beams > 1 else None,
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=EOS,
    )[0].tolist()
    return ids[: ids.index(EOS) + 1]


def llm_of(family: str, seed: int):
    """A random LLM with definite opinions, which end texts after some tokens."""
    torch.manual_seed(seed)
    llm = AutoModelForCausalLM.from_config(FAMILIES[family]).eval()
    head = torch.randn(llm.lm_head.weight.shape) * 0.6
    head[EOS] *= 2
    llm.lm_head.weight = torch.nn.Parameter(head)
    for parameter in llm.model.layers.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    llm.generation_config.eos_token_id = EOS
    return llm


def prompts_of(seed: int, lengths=(7, 3, 12, 5), dim: int = 16) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, dim, generator=generator) for n in lengths]


@pytest.mark.parametrize("num_beams", [1, 2, 15])
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_batch_gives_what_generate_gives_for_each_prompt(family, num_beams):
    limits, lengths = [9, 20, 14, 1], Counter()
    for seed in range(3):
        llm, prompts = llm_of(family, seed), prompts_of(seed)
        for penalty in (1.0, -0.5) if num_beams > 1 else (1.0,):
            found = search(llm, prompts, limits, EOS, num_beams, penalty)
            for prompt, limit, beam in zip(prompts, limits, found, strict=True):
                assert beam.ids == by_generate(llm, prompt, limit, num_beams, penalty)
                lengths[len(beam.ids)] += 1
    assert len(lengths) > 4, "some texts end before their limits"


@pytest.mark.parametrize("num_beams", [1, 4])
@torch.inference_mode()
def test_the_log_probability_is_that_of_the_text(num_beams):
    llm, prompts = llm_of("smollm2", 1), prompts_of(1)
    for prompt, beam in zip(prompts, search(llm, prompts, [12] * 4, EOS, num_beams), strict=True):
        x = torch.cat([prompt, llm.get_input_embeddings()(torch.tensor(beam.ids))])
        logs = llm(inputs_embeds=x[None]).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        assert beam.log_prob == pytest.approx(
            float(logs[range(len(beam.ids)), beam.ids].sum()), abs=1e-3
        )


@pytest.mark.parametrize("num_beams", [1, 3])
def test_prompts_that_are_read_a_few_at_a_time_give_the_same_texts(monkeypatch, num_beams):
    llm, prompts = llm_of("smollm2", 1), prompts_of(1, (7, 3, 12, 5, 9, 4, 11))
    reads = []
    monkeypatch.setattr("mome.search.CPU_ROWS", 100)
    at_once = search(llm, prompts, [8] * 7, EOS, num_beams)
    monkeypatch.setattr("mome.search.CPU_ROWS", 3)
    llm.model.register_forward_pre_hook(
        lambda _, args, kwargs: reads.append(kwargs["inputs_embeds"].shape[:2]), with_kwargs=True
    )
    found = search(llm, prompts, [8] * 7, EOS, num_beams)
    assert reads[:3] == [(3, 12), (3, 9), (1, 11)], "each as wide as its longest prompt"
    assert [beam.ids for beam in found] == [beam.ids for beam in at_once]
    for one, other in zip(found, at_once, strict=True):
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-4)


def test_a_text_may_fill_its_limit_and_steps_are_told():
    told = []
    llm, prompts = baby_llm(), prompts_of(0)
    found = search(llm, prompts, [4, 2, 6, 0], EOS, 3, on_step=told.append, fill=True)
    assert [len(beam.ids) for beam in found] == [5, 3, 7, 1]
    assert len(told) == 7 and told[-1] == [beam.ids for beam in found]
    assert [len(ids) for ids in told[2]] == [3, 3, 3, 1]


def test_keys_of_a_prompt_are_kept_once_and_what_no_beam_sees_is_forgotten(monkeypatch):
    most, llm, (prompt,) = [], baby_llm(), prompts_of(0, (50,))
    read = Tree.read

    def watched(self, *args):
        output = read(self, *args)
        assert self.cache.get_seq_length() == self.sees_BKN.shape[-1]
        most.append(self.cache.layers[0].keys.shape)
        return output

    monkeypatch.setattr(Tree, "read", watched)
    search(llm, [prompt], [200], EOS, 15, fill=True)
    assert all(shape[0] == 1 for shape in most)
    longest = max(shape[2] for shape in most)
    assert longest < (50 + 15 * 200) / 2


def test_the_head_gets_contiguous_rows():
    """For a view, `linear` copies the weights of the head, the largest of all, for each row."""
    llm, seen = baby_llm(), []
    llm.lm_head.register_forward_pre_hook(lambda _, args: seen.append(args[0].is_contiguous()))
    search(llm, prompts_of(0), [4] * 4, EOS, 1, fill=True)
    assert all(seen) and len(seen) == 5


def test_an_utterance_that_is_done_leaves_the_batch(monkeypatch):
    rows, read = [], Tree.read
    monkeypatch.setattr(Tree, "read", lambda self, *a: rows.append(len(a[0])) or read(self, *a))
    search(baby_llm(), prompts_of(0), [4, 2, 6, 0], EOS, 2, fill=True)
    assert rows == [3, 3, 2, 2, 1, 1]


def test_beams_are_chosen_as_by_hand():
    utterance = Utterance(num_beams=2, limit=9, eos=EOS, length_penalty=1.0)
    assert utterance.take([(-1.0, 0, 5), (-1.5, 0, EOS), (-2.0, 0, 6), (-9.0, 0, 7)]) == [0, 0]
    assert utterance.beams == [Beam([5], -1.0), Beam([6], -2.0)]
    assert utterance.finished == [Beam([EOS], -1.5)] and not utterance.is_done
    # The third best is EOS: it is no text, since two others are better.
    assert utterance.take([(-1.1, 0, 7), (-2.2, 1, 7), (-2.3, 0, EOS), (-9.0, 1, 8)]) == [0, 1]
    assert len(utterance.finished) == 1
    assert utterance.take([(-1.2, 0, EOS), (-3.3, 1, 7), (-9.9, 1, 8), (-9.9, 1, 9)]) == [1, 1]
    assert utterance.finished == [Beam([5, 7, EOS], -1.2), Beam([EOS], -1.5)]
    assert not utterance.is_done  # -3.3 / 3 is better than -1.5
    utterance.take([(-6.5, 0, 7), (-6.6, 1, 7), (-9.9, 1, 8), (-9.9, 1, 9)])
    assert utterance.is_done and utterance.best == Beam([5, 7, EOS], -1.2)


def test_attention_without_masks_of_our_own_is_replaced_while_beams_are_read():
    calls = Counter()

    def no_masks(module, query, key, value, mask, **kwargs):
        calls["own"] += 1
        assert mask is None or mask.ndim != 4 or query.shape[2] > 3
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)

    AttentionInterface.register("no_masks", no_masks)
    llm, prompts = baby_llm(), prompts_of(0)
    expected = search(llm, prompts, [4] * 4, EOS, 3, fill=True)
    llm.set_attn_implementation("no_masks")
    assert search(llm, prompts, [4] * 4, EOS, 3, fill=True) == expected
    assert llm.config._attn_implementation == "no_masks"

"""Text from a trained model, at a scale chosen here: batched greedy or beam search.

Hugging Face's `generate` searches; ours are the prompt, which is computed once per utterance and
repeated over beams, and a limit on new tokens that comes from each clip's length, so that an
utterance's text does not depend on its neighbours in the batch. Nothing is sampled.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList

from mome.compression import Scale
from mome.config import DecodeConfig
from mome.model import MoMEModel
from mome.prompt import pad_left

SECONDS = {"audio": 0.02, "video": 0.04}  # of a frame


@dataclass
class Limit(LogitsProcessor):
    """Ends each row after its own number of new tokens.

    Rows are utterances, each repeated `num_beams` times.
    """

    limits: list[int]
    num_beams: int
    eos: int

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # With embeddings as the prompt, `input_ids` holds the new tokens alone.
        limit = torch.tensor(self.limits, device=scores.device).repeat_interleave(self.num_beams)
        over = limit <= input_ids.shape[1]
        end = torch.full_like(scores, -math.inf)
        end[:, self.eos] = scores[:, self.eos]  # at its own cost, so beams compare fairly
        return torch.where(over[:, None], end, scores)


@torch.inference_mode()
def decode(
    model: MoMEModel, tokenizer, batch: dict, scale: Scale, search: DecodeConfig
) -> list[str]:
    """The text of each utterance of a batch (as MoMEModel.forward takes it) at a scale.

    Raises ValueError for a scale of another task or one that an utterance is too short for.
    """
    model.eval()
    prompts = model.prompts(scale, **batch)
    x_BND, padding_mask_BN = pad_left(prompts)
    limits = [limit(seconds, search) for seconds in durations(model, batch)]
    generated = model.llm.generate(
        inputs_embeds=x_BND,
        attention_mask=padding_mask_BN.long(),
        past_key_values=prompt_cache(model.llm, x_BND, padding_mask_BN, search.num_beams),
        max_new_tokens=max(limits) + 1,  # and EOS
        logits_processor=LogitsProcessorList([Limit(limits, search.num_beams, model.eos)]),
        num_beams=search.num_beams,
        length_penalty=search.length_penalty if search.num_beams > 1 else None,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=model.eos,
        pad_token_id=model.eos,
    )
    texts = tokenizer.batch_decode(generated, skip_special_tokens=True)
    return [" ".join(text.split()) for text in texts]


def prompt_cache(llm, x_BND: Tensor, padding_mask_BN: Tensor, num_beams: int) -> DynamicCache:
    """The keys and values of all prompt positions but the last, repeated over beams.

    `generate` then starts at the last one. Without this it computes the prompt once per beam.
    """
    cache = DynamicCache(config=llm.config)
    position_BN = (padding_mask_BN.long().cumsum(dim=1) - 1).clamp(min=0)
    llm.model(
        inputs_embeds=x_BND[:, :-1],
        attention_mask=padding_mask_BN[:, :-1].long(),
        position_ids=position_BN[:, :-1],
        past_key_values=cache,
        use_cache=True,
    )
    if num_beams > 1:
        cache.batch_repeat_interleave(num_beams)
    return cache


def durations(model: MoMEModel, batch: dict) -> list[float]:
    """Seconds of each utterance, by its longer stream."""
    per_stream = [[n * SECONDS[s] for n in batch[f"{s}_lengths"].tolist()] for s in model.streams]
    return [max(row) for row in zip(*per_stream, strict=True)]


def limit(seconds: float, search: DecodeConfig) -> int:
    """The most new tokens a clip of this length may get."""
    return math.ceil(seconds * search.tokens_per_second) + search.extra_tokens

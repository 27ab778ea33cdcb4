"""Beam search: the most probable texts that a frozen LLM writes after prompts (MoME A.3: 15 beams).

The texts are those of Hugging Face's `generate` with the same settings and without sampling; with
one beam, the search is greedy. It takes less time and memory, since nothing is computed, copied or
kept twice:

* A prompt is read once, whatever the number of beams, and its keys and values are kept once.
* The beams of an utterance are a tree in one row of the batch. Each step adds a position for each
  beam, and a mask says which positions a beam sees: the prompt and its own tokens. So a beam that
  branches copies no keys and values. Those that no beam sees any more are forgotten.
* An utterance that is done leaves the batch.

Shape key
    B  utterances    K  beams of each    N  positions of the cache    D  width of the LLM
    V  vocabulary    C  candidates, the best continuations of the beams
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from mome.prompt import pad_left

UNUSED = -1e9  # log-probability of the beams that are not there before the first token
FORGET_EVERY = 8  # steps
CPU_ROWS = 8  # prompts that a CPU reads at once: what a layer makes of them stays in its caches


@dataclass(frozen=True)
class Beam:
    """A text or its beginning: token ids, and the sum of their log-probabilities."""

    ids: list[int]
    log_prob: float


@dataclass
class Utterance:
    """The beams of an utterance: those that can go on, the best first, and the best finished ones.

    Attributes:
        num_beams: K.
        limit: the most tokens before EOS.
        eos: the id of EOS.
        length_penalty: the exponent of the length that a finished text's log-probability is
            divided by; above 0, it favours long texts.
    """

    num_beams: int
    limit: int
    eos: int
    length_penalty: float
    beams: list[Beam] = field(default_factory=list)
    finished: list[Beam] = field(default_factory=list)

    def __post_init__(self):
        self.beams = [Beam([], 0.0)] + [Beam([], UNUSED)] * (self.num_beams - 1)

    def take(self, candidates: list[tuple[float, int, int]]) -> list[int]:
        """Continue with the best candidates (log-probability, beam, token), given best first.

        Returns the number of the beam that each of the new ones continues.
        """
        new: list[Beam] = []
        parents: list[int] = []
        for rank, (log_prob, k, token) in enumerate(candidates):
            beam = Beam([*self.beams[k].ids, token], log_prob)
            if token == self.eos and rank < self.num_beams:
                self.finished.append(beam)
            elif token != self.eos and len(new) < self.num_beams and log_prob > -math.inf:
                new.append(beam)
                parents.append(k)
        self.beams = new
        self.finished = sorted(self.finished, key=self.value, reverse=True)[: self.num_beams]
        return parents

    def value(self, beam: Beam) -> float:
        """What finished texts are compared by."""
        return beam.log_prob / len(beam.ids) ** self.length_penalty

    @property
    def is_full(self) -> bool:
        """Whether the next token must be EOS."""
        return len(self.beams[0].ids) == self.limit

    @property
    def is_done(self) -> bool:
        """Whether no beam can go on, or none promises a better text than the finished ones."""
        if not self.beams:
            return True
        is_complete = len(self.finished) == self.num_beams
        return is_complete and self.value(self.beams[0]) <= self.value(self.finished[-1])

    @property
    def best(self) -> Beam:
        """The best text so far: of those that can go on, or of all when it is done."""
        return self.finished[0] if self.is_done else self.beams[0]


@torch.inference_mode()
def search(
    llm: Any,
    prompts: list[Tensor],
    limits: list[int],
    eos: int,
    num_beams: int = 1,
    length_penalty: float = 1.0,
    on_step: Callable[[list[list[int]]], None] | None = None,
    fill: bool = False,
) -> list[Beam]:
    """The best text after each prompt, EOS included.

    Args:
        llm: a causal LM of transformers.
        prompts: (N, D) embeddings each.
        limits: the most tokens of each text, without EOS.
        on_step: called after each step with the ids so far, those of the best beam.
        fill: write as many tokens as the limits allow, for measurements.
    """
    everyone = [Utterance(num_beams, limit, eos, length_penalty) for limit in limits]
    active = everyone
    tree = Tree(llm, prompts, num_beams)
    with own_masks(llm):
        hidden_BKD = tree.read_prompts()
        while True:
            logits_BKV = llm.lm_head(hidden_BKD).float()
            candidates = continuations(logits_BKV, active, fill)
            parents = [u.take(c) for u, c in zip(active, candidates, strict=True)]
            if on_step:
                on_step([u.best.ids for u in everyone])
            left = [b for b, u in enumerate(active) if not u.is_done]
            if not left:
                return [u.finished[0] for u in everyone]
            if len(left) < len(active):
                active, parents = [active[b] for b in left], [parents[b] for b in left]
                tree.keep(left)
            hidden_BKD = tree.read([[beam.ids[-1] for beam in u.beams] for u in active], parents)


def continuations(
    logits_BKV: Tensor, utterances: list[Utterance], fill: bool
) -> list[list[tuple[float, int, int]]]:
    """The 2 K best (log-probability, beam, token) of each utterance, the best first.

    There are twice as many as beams, so that K can go on even if K are finished.
    """
    sums = [[beam.log_prob for beam in u.beams] for u in utterances]
    sum_BK = torch.tensor(sums, device=logits_BKV.device)
    norm_BK = logits_BKV.logsumexp(dim=-1)
    eos = utterances[0].eos
    for logits_KV, utterance in zip(logits_BKV, utterances, strict=True):
        if utterance.is_full:
            logits_KV[:, :eos] = logits_KV[:, eos + 1 :] = -math.inf
        elif fill:
            logits_KV[:, eos] = -math.inf
    num, (K, V) = 2 * sum_BK.shape[1], logits_BKV.shape[1:]
    top_BKC, token_BKC = logits_BKV.topk(min(num, V))
    log_prob_BKC = top_BKC - norm_BK[..., None] + sum_BK[..., None]
    best_BC, place_BC = log_prob_BKC.flatten(1).topk(min(num, K * V))
    beam_BC = place_BC // top_BKC.shape[-1]
    token_BC = token_BKC.flatten(1).gather(1, place_BC)
    columns = (best_BC.tolist(), beam_BC.tolist(), token_BC.tolist())
    return [list(zip(*rows, strict=True)) for rows in zip(*columns, strict=True)]


class Tree:
    """What the LLM has read of each utterance: the prompt and its beams, with keys and values."""

    def __init__(self, llm: Any, prompts: list[Tensor], num_beams: int):
        self.llm, self.cache = llm, DynamicCache()
        self.prompt_BND, self.padding_mask_BN = pad_left(prompts)
        self.sees_BKN = self.padding_mask_BN[:, None].expand(-1, num_beams, -1)
        self.length_B1 = self.padding_mask_BN.sum(dim=1, keepdim=True)
        self.num_steps = 0

    def read_prompts(self) -> Tensor:
        """The LLM's output for the last token of each prompt, (B, K, D), for all beams the same."""
        B, K, _ = self.sees_BKN.shape
        num_rows = CPU_ROWS if self.prompt_BND.device.type == "cpu" else B
        parts = [self._read_prompts(slice(b, b + num_rows)) for b in range(0, B, num_rows)]
        layers: Any = zip(*(cache.layers for _, cache in parts), strict=True)
        for layer, *others in layers if len(parts) > 1 else ():
            layer.keys = self._join([layer.keys, *(x.keys for x in others)])
            layer.values = self._join([layer.values, *(x.values for x in others)])
        self.cache = parts[0][1]
        return torch.cat([hidden_B1D for hidden_B1D, _ in parts]).repeat(1, K, 1)

    def _join(self, parts: list[Tensor]) -> Tensor:
        """The keys or values of parts of the prompts, (B, heads, N, dim): zeros in the padding."""
        N = self.padding_mask_BN.shape[1]
        return torch.cat([F.pad(x, (0, 0, N - x.shape[2], 0)) for x in parts])

    def _read_prompts(self, rows: slice) -> tuple[Tensor, DynamicCache]:
        """The output for the last token of some of the prompts, and their keys and values."""
        mask_BN, prompt_BND = self.padding_mask_BN[rows].long(), self.prompt_BND[rows]
        if len(mask_BN) < len(self.prompt_BND):  # without the padding that all of them have
            longest = int(self.length_B1[rows].max())
            mask_BN, prompt_BND = mask_BN[:, -longest:], prompt_BND[:, -longest:]
        cache = DynamicCache()
        hidden_BND = self.llm.model(
            inputs_embeds=prompt_BND,
            attention_mask=mask_BN,
            position_ids=(mask_BN.cumsum(dim=1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        # A copy: for a view, PyTorch's linear layers would copy their weights for each row.
        return hidden_BND[:, -1:].clone(), cache

    def read(self, tokens: list[list[int]], parents: list[list[int]]) -> Tensor:
        """The output (B, K, D) for a new token of each beam, which continues one of the beams."""
        if self.num_steps % FORGET_EVERY == FORGET_EVERY - 1:
            self.forget()
        device = self.sees_BKN.device
        token_BK, parent_BK = (torch.tensor(x, device=device) for x in (tokens, parents))
        (B, K), N = token_BK.shape, self.sees_BKN.shape[-1]
        before_BKN = self.sees_BKN.gather(1, parent_BK[..., None].expand(-1, -1, N))
        itself_BKK = torch.eye(K, dtype=torch.bool, device=device).expand(B, -1, -1)
        self.sees_BKN = torch.cat([before_BKN, itself_BKK], dim=-1)
        x_BKD = self.llm.get_input_embeddings()(token_BK).to(self.prompt_BND.dtype)
        bias_BKN = torch.zeros(self.sees_BKN.shape, dtype=x_BKD.dtype, device=device)
        bias_BKN.masked_fill_(~self.sees_BKN, torch.finfo(x_BKD.dtype).min)
        output = self.llm.model(
            inputs_embeds=x_BKD,
            attention_mask=bias_BKN[:, None],
            position_ids=(self.length_B1 + self.num_steps).expand(-1, K),
            past_key_values=self.cache,
            use_cache=True,
        )
        self.num_steps += 1
        return output.last_hidden_state

    def keep(self, rows: list[int]) -> None:
        """Drop the utterances whose numbers are not in `rows`."""
        row_B = torch.tensor(rows, device=self.sees_BKN.device)
        self.cache.batch_select_indices(row_B)
        self.sees_BKN, self.length_B1 = self.sees_BKN[row_B], self.length_B1[row_B]

    def forget(self) -> None:
        """Drop the positions that no beam sees."""
        seen_BN = self.sees_BKN.any(dim=1)
        num_kept = int(seen_BN.sum(dim=1).max())
        place_BN = seen_BN.byte().argsort(dim=1, descending=True, stable=True)[:, :num_kept]
        K = self.sees_BKN.shape[1]
        self.sees_BKN = self.sees_BKN.gather(2, place_BN[:, None].expand(-1, K, -1))
        layers: Any = self.cache.layers
        for layer in layers:
            _, heads, _, dim = layer.keys.shape
            index = place_BN[:, None, :, None].expand(-1, heads, -1, dim)
            layer.keys, layer.values = layer.keys.gather(2, index), layer.values.gather(2, index)


@contextlib.contextmanager
def own_masks(llm: Any) -> Iterator[None]:
    """Attention that takes any mask, which that of flash attention does not."""
    before = llm.config._attn_implementation
    if before not in ("sdpa", "eager"):
        llm.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        if before not in ("sdpa", "eager"):
            llm.set_attn_implementation(before)

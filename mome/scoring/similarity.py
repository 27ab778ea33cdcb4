"""How alike tokens are, before the LLM and after each layer: cosines, as running sums.

A token is compared with the tokens that another stream or scale has at the same moment, at other
moments of the same utterance, and in another utterance. Hidden states of an LLM all point much the
same way, so a cosine means little by itself: the last two are what chance gives.

Shape key
    L  layers; 0 is before the LLM, L - 1 after its last layer    C  a stream at a scale
    M  moments of an utterance    D  width of the LLM
"""

from typing import Any

import torch
from torch import Tensor

from mome.compression import Scale

WITH = ("same_time", "other_time", "other_utterance")


class SimilaritySums:
    """Running sums of cosines over pairs of moments.

    Args:
        columns: the streams and scales C, such as ("audio", Scale(4, 2)).
    """

    def __init__(self, columns: list[tuple[str, Scale]]):
        self.columns = columns
        self.sums: dict[str, Tensor] = {}  # one of WITH -> (L, C, C)
        self.counts = dict.fromkeys(WITH, 0)

    def add(self, states_LCMD: Tensor, other_LCMD: Tensor | None) -> None:
        """Add an utterance, and compare it with another one.

        The states have length 1. A moment of an utterance is another token in every column than
        the other moments.
        """
        cosine_LCCMM = torch.einsum("lcmd,lend->lcemn", states_LCMD, states_LCMD)
        same_LCC = cosine_LCCMM.diagonal(dim1=-2, dim2=-1).sum(dim=-1).double()
        num = states_LCMD.shape[2]
        self._add("same_time", same_LCC, num)
        elsewhere_LCC = cosine_LCCMM.sum(dim=(-2, -1), dtype=torch.double) - same_LCC
        self._add("other_time", elsewhere_LCC, num * (num - 1))
        if other_LCMD is not None:  # the mean over all pairs is the product of the sums
            sums = (x.sum(dim=2) for x in (states_LCMD, other_LCMD))
            other_LCC = torch.einsum("lcd,led->lce", *sums).double()
            self._add("other_utterance", other_LCC, num * other_LCMD.shape[2])

    def _add(self, name: str, value: Tensor, count: int) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] += count

    def summary(self) -> dict[str, Any]:
        """What the sums say.

        columns   names of C, such as "audio a4_v2"
        cosine    same_time, other_time, other_utterance -> (L, C, C)
        groups    name -> the same three -> (L,): means over the pairs of columns of a group
        """
        means = {
            name: value / self.counts[name]
            for name, value in self.sums.items()
            if self.counts[name]
        }
        groups = {}
        for group, pairs in self._groups().items():
            one, two = (list(places) for places in zip(*pairs, strict=True))
            groups[group] = {k: x[:, one, two].mean(dim=1).tolist() for k, x in means.items()}
        return {
            "columns": [f"{stream} {scale}" for stream, scale in self.columns],
            "cosine": {name: value.tolist() for name, value in means.items()},
            "groups": groups,
        }

    def _groups(self) -> dict[str, list[tuple[int, int]]]:
        """Pairs of columns that belong together.

        Within a stream, only pairs of different rates: at the same rate, tokens are the same before
        the LLM; audio tokens stay so in every layer, since no video goes before them.
        """
        groups: dict[str, list[tuple[int, int]]] = {}
        for i, (stream, scale) in enumerate(self.columns):
            for j, (other_stream, other) in enumerate(self.columns):
                if stream == other_stream:
                    if i < j and getattr(scale, stream) != getattr(other, stream):
                        groups.setdefault(f"{stream}, two rates", []).append((i, j))
                elif stream == "audio":
                    where = "one scale" if scale == other else "two scales"
                    groups.setdefault(f"audio and video, {where}", []).append((i, j))
        return groups

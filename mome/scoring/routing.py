"""What the routers do with tokens: load, entropy, usual sets of experts, agreement of scales.

The tokens of an utterance are counted and then forgotten, so memory does not grow with the test
set. If every token of a layer takes the same experts, scales agree for that reason alone. So each
agreement comes with that of other utterances, and each layer with the share of its most usual set.

Shape key
    A  adapters, one for each layer    R  routed experts    K  experts that a token is sent to
    N  tokens of an utterance    Q  kinds of token    F  frames, or tokens of text
"""

import math
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("audio", "video", "text", "other")  # other: BOS, delimiters and instruction


def chosen_experts(probs_ANR: Tensor, num_active: int) -> Tensor:
    """True for the experts that a token is sent to, (A, N, R) bool."""
    top_ANK = probs_ANR.topk(num_active, dim=-1).indices
    return torch.zeros_like(probs_ANR, dtype=torch.bool).scatter(-1, top_ANK, True)


def entropy_bits(probs: Tensor) -> Tensor:
    """Entropy of distributions over the last dimension, in bits."""
    return -torch.special.xlogy(probs, probs).sum(dim=-1) / math.log(2)


class RouterSums:
    """Running sums over the tokens of utterances; `summary` divides them.

    Args:
        num_active: experts that a token is sent to, K.
    """

    def __init__(self, num_active: int):
        self.num_active = num_active
        self.tokens: dict[str, Tensor] = {}  # scale -> (Q,)
        self.load: dict[str, Tensor] = {}  # scale -> (A, Q, R), how often each expert was chosen
        self.entropy: dict[str, Tensor] = {}  # scale -> (A, Q)
        self.sets: dict[tuple[int, str], Counter[bytes]] = defaultdict(Counter)  # layer, kind
        # (kind, scale, scale, whether of one utterance) -> (3, A): the experts in common, as shares
        # of K; how many sets are equal; frames.
        self.pairs: dict[tuple[str, str, str, bool], Tensor] = {}

    def add(self, scale: str, probs_ANR: Tensor, kind_N: Tensor) -> None:
        """Count the tokens of an utterance at a scale; `kind_N` holds places in `KINDS`."""
        chosen_ANR = chosen_experts(probs_ANR, self.num_active)
        kind_NQ = F.one_hot(kind_N, len(KINDS)).double()
        load_AQR = torch.einsum("anr,nq->aqr", chosen_ANR.double(), kind_NQ)
        entropy_AQ = entropy_bits(probs_ANR.double()) @ kind_NQ
        for sums, value in (
            (self.tokens, kind_NQ.sum(dim=0)),
            (self.load, load_AQR),
            (self.entropy, entropy_AQ),
        ):
            sums[scale] = sums[scale] + value if scale in sums else value
        kinds = [KINDS[k] for k in kind_N.tolist()]
        for layer, rows in enumerate(np.packbits(chosen_ANR.numpy(), axis=-1)):
            for kind, row in zip(kinds, rows, strict=True):
                self.sets[layer, kind][row.tobytes()] += 1

    def add_pair(
        self, kind: str, scales: tuple[str, str], one_AFR: Tensor, two_AFR: Tensor, same: bool
    ) -> None:
        """Compare the experts of two scales, frame by frame, up to the end of the shorter one.

        Args:
            kind: of the tokens.
            one_AFR, two_AFR: the experts of the token that covers each frame, bool.
            same: whether both are of the same utterance.
        """
        num_frames = min(one_AFR.shape[1], two_AFR.shape[1])
        common_AF = (one_AFR[:, :num_frames] & two_AFR[:, :num_frames]).sum(dim=-1).double()
        share_A = common_AF.sum(dim=1) / self.num_active
        equal_A = (common_AF == self.num_active).double().sum(dim=1)
        value = torch.stack([share_A, equal_A, torch.full_like(share_A, num_frames)])
        key = (kind, *scales, same)
        self.pairs[key] = self.pairs[key] + value if key in self.pairs else value

    def summary(self) -> dict[str, Any]:
        """What the sums say, as lists by layer:

        tokens        scale -> kind -> number
        load          scale -> kind -> (A, R): share of the tokens that take an expert; a row has
                      the sum K
        entropy       kind -> (A,): mean entropy of the router's probabilities, in bits
        load_entropy  (A,): entropy of the load over all tokens, in bits; log2 R if balanced
        usual_sets    for each layer: `experts`, the set that most tokens take, and kind -> share of
                      the tokens of this kind that take the most usual set of the kind
        agreement     kind -> "scale scale" -> {same, other, same_equal, other_equal}, (A,) each:
                      mean share of experts in common, and share of equal sets, of the same and of
                      other utterances
        """
        names = [*KINDS, "all"]
        tokens_SQ = _with_total(torch.stack(list(self.tokens.values())), dim=1)
        load_SAQR = _with_total(torch.stack(list(self.load.values())), dim=2)
        entropy_AQ = _with_total(torch.stack(list(self.entropy.values())).sum(dim=0), dim=1)
        found = {
            "tokens": {
                scale: dict(zip(names, map(int, row), strict=True))
                for scale, row in zip(self.tokens, tokens_SQ.tolist(), strict=True)
            },
            "load": {
                scale: {
                    kind: (load_SAQR[s, :, q] / tokens_SQ[s, q]).tolist()
                    for q, kind in enumerate(names)
                    if tokens_SQ[s, q]
                }
                for s, scale in enumerate(self.load)
            },
            "entropy": {
                kind: (entropy_AQ[:, q] / tokens_SQ[:, q].sum()).tolist()
                for q, kind in enumerate(names)
                if tokens_SQ[:, q].sum()
            },
        }
        load_AR = load_SAQR[:, :, -1].sum(dim=0)
        found["load_entropy"] = entropy_bits(load_AR / load_AR.sum(dim=-1, keepdim=True)).tolist()
        found["usual_sets"] = [self._usual_set(layer) for layer in range(len(load_AR))]
        found["agreement"] = self._agreement()
        return found

    def _usual_set(self, layer: int) -> dict[str, Any]:
        """The most usual set of experts of a layer, and the share of the most usual by kind."""
        by_kind = {kind: self.sets[layer, kind] for kind in KINDS if self.sets[layer, kind]}
        by_kind["all"] = sum(by_kind.values(), Counter())
        usual = {kind: sets.most_common(1)[0] for kind, sets in by_kind.items()}
        bits = np.unpackbits(np.frombuffer(usual["all"][0], dtype=np.uint8))
        shares = {kind: count / by_kind[kind].total() for kind, (_, count) in usual.items()}
        return {"experts": bits.nonzero()[0].tolist(), **shares}

    def _agreement(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        found: dict[str, dict[str, dict[str, list[float]]]] = {}
        for (kind, one, two, same), (share_A, equal_A, num_A) in self.pairs.items():
            pair = found.setdefault(kind, {}).setdefault(f"{one} {two}", {})
            name = "same" if same else "other"
            pair[name] = (share_A / num_A).tolist()
            pair[f"{name}_equal"] = (equal_A / num_A).tolist()
        return found


def _with_total(x: Tensor, dim: int) -> Tensor:
    """The kinds of token in a dimension, and their sum as one more."""
    return torch.cat([x, x.sum(dim=dim, keepdim=True)], dim=dim)

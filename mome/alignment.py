"""Align a projector with the LLM's embedding table by CTC, without running the LLM.

This is ours, not the paper's; its configurations do without. With random projectors an LLM first
learns the grammar of the transcripts and may never learn to listen. A projector whose tokens lie
near the embeddings of the spoken words gives the LLM something to hear from the first step.

The score of token v at position n is `SHARPNESS` times the cosine between the projected token and
the embedding of v. A linear unit scores the blank. CTC (Graves et al. 2006) sums over alignments.

Shape key
    B  batch    N  projected tokens    D  width of the LLM    V  token ids in the training text
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mome.compression import Scale
from mome.data import FPS

SHARPNESS = 20.0
LEAST_TOKENS = 5.0  # in a second of a stream that is aligned; speech has 3 to 4 tokens of text


class Alignment(nn.Module):
    """CTC loss of projected tokens against a frozen embedding table.

    Args:
        embedding: the LLM's embedding table, (vocabulary, D).
        token_ids: ids of the training text; only these are scored.
        streams: "audio", "video"; each has its own blank.
    """

    table_VD: Tensor
    label: Tensor

    def __init__(self, embedding: Tensor, token_ids: list[int], streams: list[str]):
        super().__init__()
        ids = torch.tensor(sorted(set(token_ids)), device=embedding.device)
        table_VD = F.normalize(embedding.detach()[ids].float(), dim=1)
        label = torch.zeros(len(embedding), dtype=torch.long, device=embedding.device)
        label[ids] = torch.arange(1, len(ids) + 1, device=ids.device)  # 0 is the blank
        self.register_buffer("table_VD", table_VD, persistent=False)
        self.register_buffer("label", label, persistent=False)
        self.blank = nn.ModuleDict({s: nn.Linear(embedding.shape[1], 1) for s in streams})

    def forward(
        self, stream: str, tokens_ND: list[Tensor], text: list[Tensor], weight_B: Tensor
    ) -> Tensor:
        """Mean over utterances of the CTC loss per text token; weight 0 leaves an utterance out.

        An utterance with fewer projected tokens than its text needs has no alignment and counts
        as 0, as is usual in CTC training.
        """
        lengths = torch.tensor([len(t) for t in tokens_ND])
        score = self.scores(stream, torch.cat(tokens_ND))
        log_probs = nn.utils.rnn.pad_sequence(score.log_softmax(dim=1).split(lengths.tolist()))
        targets = [self.label[t] for t in text]
        target_lengths = torch.tensor([len(t) for t in targets])
        loss_B = F.ctc_loss(
            log_probs,
            torch.cat(targets),
            lengths,
            target_lengths,
            reduction="none",
            zero_infinity=True,
        )
        per_token_B = loss_B / target_lengths.to(loss_B.device, non_blocking=True)
        return (per_token_B * weight_B).sum() / weight_B.sum().clamp(min=1)

    def scores(self, stream: str, x_ND: Tensor) -> Tensor:
        """The scores of the blank and of each token at each position, (N, 1 + V)."""
        unit_ND = F.normalize(x_ND.float(), dim=1)
        blank, gain = self.blank[stream], x_ND.shape[1] ** 0.5 / 10
        weight, bias = (blank.get_parameter(name).float() for name in ("weight", "bias"))
        blank_N1 = F.linear(unit_ND * gain, weight, bias)
        return torch.cat([blank_N1, unit_ND @ self.table_VD.T * SHARPNESS], dim=1)


def rates_to_align(stream: str, scales: list[Scale], trained: list[int]) -> list[int]:
    """The rates at which a stream is aligned when the LLM reads it at `scales`.

    In place of a rate that leaves too few tokens for CTC: the coarsest trained one that does not,
    or the finest one.
    """
    coarsest = max((r for r in trained if FPS[stream] / r >= LEAST_TOKENS), default=min(trained))
    return sorted({min(rate, coarsest) for s in scales if (rate := getattr(s, stream))})

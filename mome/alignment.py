"""Align a projector with the LLM's embedding table by CTC, without running the LLM.

Ours, not the paper's (off in its configurations). From random projectors an LLM first learns the
grammar of the transcripts and may never come to listen; a projector whose tokens already lie near
the embeddings of the words spoken gives it something to hear from the first step. The score of
token v at position n is the cosine of the projected token and the embedding of v, times
`SHARPNESS`; a linear unit scores the blank; CTC (Graves et al. 2006) sums over alignments.

Shape key
    B  batch    N  projected tokens    D  width of the LLM    V  token ids in the training text
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHARPNESS = 20.0


class Alignment(nn.Module):
    """CTC loss of projected tokens against a frozen embedding table.

    Args:
        embedding: the LLM's embedding table, (vocabulary, D).
        token_ids: ids that occur in the training text; the only ones that are scored.
        streams: "audio", "video": each has a blank of its own.
    """

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
        """Mean over utterances of the CTC loss per text token; `weight_B` 0 leaves one out.

        An utterance with fewer projected tokens than its text needs has no alignment: it counts
        as 0, as everywhere in CTC training.
        """
        lengths = torch.tensor([len(t) for t in tokens_ND])
        x_ND = torch.cat(tokens_ND).float()
        unit_ND = F.normalize(x_ND, dim=1)
        blank = self.blank[stream]
        scale = x_ND.shape[1] ** 0.5 / 10
        blank_N1 = F.linear(unit_ND * scale, blank.weight.float(), blank.bias.float())
        score = torch.cat([blank_N1, unit_ND @ self.table_VD.T * SHARPNESS], dim=1)
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
        per_token_B = loss_B / target_lengths.to(loss_B.device)
        return (per_token_B * weight_B).sum() / weight_B.sum().clamp(min=1)

"""The sequence the LLM sees, and batches of it (MoME §3.1).

    BOS <audio> A </audio> <video> V </video> instruction text EOS

Each utterance has its own tokens and nothing between them; padding stands behind them all in
training and before them all in decoding. The four delimiters are trained embeddings of ours, so
the LLM's vocabulary stays as it is.

Shape key
    B  batch    N  tokens of a sequence    D  width of the LLM
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INSTRUCTION = {
    "asr": "Transcribe speech to text.",
    "vsr": "Transcribe video to text.",
    "avsr": "Transcribe speech and video to text.",
}


class Prompt(nn.Module):
    """Everything before the text. Trained: the delimiters, drawn at the scale of words."""

    def __init__(self, dim: int, out_std: float):
        super().__init__()
        names = ("audio_start", "audio_end", "video_start", "video_end")
        self.delimiters = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(1, dim) * out_std) for name in names}
        )

    def sequence(
        self,
        bos: Tensor,
        audio_ND: Tensor | None,
        video_ND: Tensor | None,
        instruction: Tensor,
    ) -> Tensor:
        """One utterance's prompt (N, D); `bos` (0 or 1, D) and `instruction` (n, D) embedded."""
        parts = [bos]
        for name, tokens_ND in (("audio", audio_ND), ("video", video_ND)):
            if tokens_ND is not None:
                start, end = self.delimiters[f"{name}_start"], self.delimiters[f"{name}_end"]
                parts += [start.to(bos.dtype), tokens_ND.to(bos.dtype), end.to(bos.dtype)]
        return torch.cat([*parts, instruction])


def text_ids(tokenizer, text: str) -> list[int]:
    """A transcript as token ids, without EOS: a space before it, as after any sentence."""
    return tokenizer(" " + text.strip(), add_special_tokens=False).input_ids


def instruction_ids(tokenizer, task: str) -> list[int]:
    """The instruction of a task as token ids."""
    return tokenizer(" " + INSTRUCTION[task], add_special_tokens=False).input_ids


def pad_right(sequences: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack sequences (N_b, D): (B, N, D) and which positions are inside, (B, N) bool.

    For training: padding behind the text needs no attention mask, since a causal LLM never looks
    ahead and the loss is read inside.
    """
    N = max(len(s) for s in sequences)
    x_BND = torch.stack([F.pad(s, (0, 0, 0, N - len(s))) for s in sequences])
    length_B = torch.tensor([len(s) for s in sequences], device=x_BND.device)
    return x_BND, torch.arange(N, device=x_BND.device) < length_B[:, None]


def pad_left(sequences: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack sequences for decoding, padding first: (B, N, D) and which are inside, (B, N) bool."""
    N = max(len(s) for s in sequences)
    x_BND = torch.stack([F.pad(s, (0, 0, N - len(s), 0)) for s in sequences])
    length_B = torch.tensor([len(s) for s in sequences], device=x_BND.device)
    return x_BND, torch.arange(N, device=x_BND.device) >= N - length_B[:, None]

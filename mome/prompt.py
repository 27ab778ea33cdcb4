"""The sequence that the LLM reads, and batches of it (MoME §3.1).

    BOS <audio> A </audio> <video> V </video> instruction text EOS

A sequence has no padding inside. In a batch, padding follows the sequence in training and precedes
it in decoding. The four delimiters are trained embeddings of our own, so the vocabulary of the LLM
stays as it is.

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
    """Everything before the text. The delimiters are trained; they start as large as words are."""

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
        """The prompt of an utterance, (N, D); `bos` (0 or 1, D), `instruction` (n, D), embedded."""
        parts = [bos]
        for name, tokens_ND in (("audio", audio_ND), ("video", video_ND)):
            if tokens_ND is not None:
                start, end = self.delimiters[f"{name}_start"], self.delimiters[f"{name}_end"]
                parts += [start.to(bos.dtype), tokens_ND.to(bos.dtype), end.to(bos.dtype)]
        return torch.cat([*parts, instruction])


def text_ids(tokenizer, text: str) -> list[int]:
    """A transcript as token ids, without EOS. A space goes before it, as between sentences."""
    return tokenizer(" " + text.strip(), add_special_tokens=False).input_ids


def instruction_ids(tokenizer, task: str) -> list[int]:
    """The instruction of a task as token ids."""
    return tokenizer(" " + INSTRUCTION[task], add_special_tokens=False).input_ids


def pad_right(sequences: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack sequences (N_b, D) for training: (B, N, D), and the padding mask (B, N), bool.

    The LLM needs no attention mask here: it is causal, so padding after the text reaches no
    position that the loss reads.
    """
    N = max(len(s) for s in sequences)
    x_BND = torch.stack([F.pad(s, (0, 0, 0, N - len(s))) for s in sequences])
    length_B = torch.tensor([len(s) for s in sequences]).to(x_BND.device, non_blocking=True)
    return x_BND, torch.arange(N, device=x_BND.device) < length_B[:, None]


def pad_left(sequences: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack sequences for decoding, padding first: (B, N, D) and the padding mask (B, N)."""
    N = max(len(s) for s in sequences)
    x_BND = torch.stack([F.pad(s, (0, 0, N - len(s), 0)) for s in sequences])
    length_B = torch.tensor([len(s) for s in sequences], device=x_BND.device)
    return x_BND, torch.arange(N, device=x_BND.device) >= N - length_B[:, None]

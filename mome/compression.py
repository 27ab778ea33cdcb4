"""From encoder frames to LLM tokens, at a rate chosen when the model is called.

A rate is a whole number of frames per token (MoME §3.1). The rates that a model was trained at are
its Matryoshka scales, and decoding can use any of them.

Shape key
    B  batch    T  encoder frames    N  tokens    D  feature width
"""

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mome.data import FPS

HOW = ("average", "stack")
NORMS = ("none", "both", "after")


@dataclass(frozen=True)
class Scale:
    """The rates of one forward pass; None for a stream that the task does not read."""

    audio: int | None
    video: int | None

    def __str__(self) -> str:
        rates = (f"a{self.audio}" if self.audio else "", f"v{self.video}" if self.video else "")
        return "_".join(filter(None, rates))

    @property
    def task(self) -> str:
        """The task that has these streams: asr, vsr or avsr."""
        if self.audio and self.video:
            return "avsr"
        return "asr" if self.audio else "vsr"

    @property
    def tokens_per_second(self) -> float:
        """Tokens that a second of sound and lips becomes: what the scale costs."""
        rates = {"audio": self.audio, "video": self.video}
        return sum(FPS[stream] / rate for stream, rate in rates.items() if rate)

    @classmethod
    def parse(cls, name: str) -> "Scale":
        """Read `a4`, `v2` or `a4_v2`; ValueError for anything else."""
        match = re.fullmatch(r"(?:a([1-9]\d*))?_?(?:v([1-9]\d*))?", name)
        if not match or not any(match.groups()) or str(cls(*map(_int, match.groups()))) != name:
            raise ValueError(f"a scale is written a4, v2 or a4_v2; got {name!r}")
        return cls(*map(_int, match.groups()))


def _int(digits: str | None) -> int | None:
    return int(digits) if digits else None


def scales_of(task: str, audio_rates: list[int], video_rates: list[int]) -> list[Scale]:
    """The scales of a task, finest first: rates of one stream, or all pairs for `avsr`.

    Task `all`, one model for the three tasks, has the scales of avsr, asr and vsr.
    """
    if task == "all":
        return [s for t in ("avsr", "asr", "vsr") for s in scales_of(t, audio_rates, video_rates)]
    return [
        Scale(audio, video)
        for audio in (audio_rates if task != "vsr" else [None])
        for video in (video_rates if task != "asr" else [None])
    ]


def compress(
    frames_BTD: Tensor,
    rate: int,
    how: str = "average",
    drop_tail: bool = False,
    lengths_B: Tensor | None = None,
) -> Tensor:
    """Merge every `rate` frames into one token.

    Returns (B, N, D) for "average" and (B, N, rate * D) for "stack". A last, partial group is kept,
    averaged over the frames it has or stacked with zeros; `drop_tail` drops it.

    `lengths_B` is the number of frames of each row of a padded batch; padding never reaches a
    token. The tokens of row b are the first `num_tokens(lengths_B[b], ...)` ones.

    Raises ValueError when a row has fewer frames than one token needs.
    """
    B, T, D = frames_BTD.shape
    if how not in HOW:
        raise ValueError(f"compression must be one of {', '.join(HOW)}; got {how!r}")
    shortest = T if lengths_B is None else int(lengths_B.min())
    num_tokens(shortest, rate, drop_tail)  # raises ValueError for a row that is too short

    N = num_tokens(T, rate, drop_tail)
    if lengths_B is None:
        lengths_B = torch.full((B,), T, device=frames_BTD.device)
    else:
        lengths_B = lengths_B.to(frames_BTD.device, non_blocking=True)
        padding_mask_BT = torch.arange(T, device=frames_BTD.device) < lengths_B[:, None]
        frames_BTD = frames_BTD * padding_mask_BT[..., None]
    missing = N * rate - T  # negative when the tail is dropped
    groups = F.pad(frames_BTD, (0, 0, 0, missing)).reshape(B, N, rate, D)
    if how == "stack":
        return groups.flatten(start_dim=2)
    starts_N = torch.arange(N, device=frames_BTD.device) * rate
    count_BN = (lengths_B[:, None] - starts_N).clamp(1, rate)
    return groups.sum(dim=2) / count_BN[..., None].to(frames_BTD.dtype)


def num_tokens(num_frames: int, rate: int, drop_tail: bool = False) -> int:
    """How many tokens `num_frames` frames make; ValueError when there are too few for one."""
    if rate < 1:
        raise ValueError(f"a rate is a number of frames per token, 1 or more; got {rate}")
    if num_frames < rate:
        raise ValueError(f"rate {rate} needs at least {rate} frames, got {num_frames}")
    return num_frames // rate if drop_tail else -(-num_frames // rate)


class Projector(nn.Module):
    """Tokens (B, N, in_dim) into the embedding space of the LLM (B, N, out_dim).

    Linear - ReLU - Linear (MoME §4). `norm` "both" adds a LayerNorm on each side. The second one
    starts with the standard deviation of the LLM's own embeddings, `out_std`, so that projected
    tokens look like words. "after" adds a LayerNorm behind the projector alone, which starts with
    1, as in the code of the paper's authors.
    """

    def __init__(
        self, in_dim: int, hidden_dim: int, out_dim: int, norm: str = "none", out_std: float = 1.0
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}; got {norm!r}")
        self.norm_in = nn.LayerNorm(in_dim) if norm == "both" else nn.Identity()
        self.hidden = nn.Linear(in_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, out_dim)
        self.norm_out = nn.Identity() if norm == "none" else nn.LayerNorm(out_dim)
        if norm == "both":
            nn.init.constant_(self.norm_out.get_parameter("weight"), out_std)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.norm_out(self.out(F.relu(self.hidden(self.norm_in(x_BND)))))

"""When words are said, for a model whose projectors were trained to say words (train.ctc_warmup).

That training aligns the projected tokens of sound and lips with the LLM's embeddings by CTC
(mome/alignment.py). Here the most probable path through the tokens of a text that is known says at
which of them each word is heard: the Viterbi algorithm on the scores of sound and lips together, at
the finest trained scale, whatever the text was decoded at. The LLM is not run.

Shape key
    N  positions of projected tokens    L  tokens of the text    S  states, 2 L + 1: blank before
    each token and after the last
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from mome import checkpoint
from mome.alignment import Alignment
from mome.data import AUDIO_FPS, VIDEO_FPS
from mome.model import STREAMS, MoMEModel
from mome.prompt import text_ids
from mome.transcription.transcript import Word

FPS = {"audio": AUDIO_FPS, "video": VIDEO_FPS}
PREFIX = "alignment.blank."  # of the weights, which decoding itself does without
LATEST_S = 0.3  # how long a word may last after its last token: a pause follows


class Aligner:
    """Finds the times of words in the frames of a model.

    Raises ValueError when the model was trained without the CTC alignment.
    """

    def __init__(self, model: MoMEModel, tokenizer: Any, model_dir: Path):
        self.model, self.tokenizer = model, tokenizer
        with safe_open(model_dir / checkpoint.FILE, "pt") as file:
            names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118
            self.blanks = {name.removeprefix(PREFIX): file.get_tensor(name) for name in names}
        if {name.split(".")[0] for name in self.blanks} != set(model.streams):
            raise ValueError(
                f"{model_dir} cannot tell when words are said: it was trained without the CTC"
                " alignment of train.ctc_warmup"
            )

    @torch.inference_mode()
    def words(
        self, text: str, frames: dict[str, Tensor], heard: list[str], start: float, end: float
    ) -> list[Word] | None:
        """The words of a text with their times; None when the piece is too short for so many.

        Args:
            frames: (T, width) of each stream, as the text was decoded from.
            heard: the streams among them that the recording has; the others are zeros.
            start, end: of the piece, in seconds.
        """
        words = text.split()
        if not words:
            return []
        parts = [text_ids(self.tokenizer, word) for word in words]
        ids = [i for part in parts for i in part]
        scores_NL, token_s = self._scores(frames, heard, ids)
        path = best_path(scores_NL, ids)
        if path is None:
            return None
        counts = np.cumsum([len(part) for part in parts]).tolist()
        spans = [
            (path[count - len(part)][0], path[count - 1][1])
            for part, count in zip(parts, counts, strict=True)
        ]
        found = times(spans, len(scores_NL), token_s)
        return [
            Word(word, start + first, min(start + last, end))  # the last token may not be whole
            for word, (first, last) in zip(words, found, strict=True)
        ]

    def _scores(
        self, frames: dict[str, Tensor], heard: list[str], ids: list[int]
    ) -> tuple[np.ndarray, float]:
        """Scores of the blank and of each token of the text, (N, 1 + L), and seconds of a position.

        Streams are added on a grid as fine as the shorter of their tokens.
        """
        model = self.model
        scale = next(s for s in model.scales if set(STREAMS[s.task]) == set(frames))
        batch = {stream: x[None] for stream, x in frames.items()}
        batch |= {f"{stream}_lengths": torch.tensor([len(x)]) for stream, x in frames.items()}
        alignment = Alignment(model.llm.get_input_embeddings().weight, ids, model.streams)
        alignment.blank.load_state_dict(self.blanks)
        alignment.to(next(iter(frames.values())).device)
        columns = [0, *alignment.label[torch.tensor(ids, dtype=torch.long)].tolist()]
        tokens = model.project(scale, **batch)
        lengths_s = {stream: getattr(scale, stream) / FPS[stream] for stream in heard}
        token_s, sums = min(lengths_s.values()), []
        for stream in heard:
            scores_NL = alignment.scores(stream, tokens[stream][0])[:, columns].cpu().numpy()
            num = round(len(scores_NL) * lengths_s[stream] / token_s)
            place_N = (np.arange(num) * token_s / lengths_s[stream] + 1e-6).astype(int)
            sums.append(scores_NL[place_N])
        num = min(map(len, sums))
        return np.sum([scores_NL[:num] for scores_NL in sums], axis=0), token_s


def best_path(scores_NL: np.ndarray, ids: list[int]) -> list[tuple[int, int]] | None:
    """The first and the last position of each token on the most probable path of CTC.

    `scores_NL` (N, 1 + L) are log-probabilities of the blank and of each token, up to a number for
    each position. None when there are too few positions.
    """
    N, L = len(scores_NL), len(ids)
    is_new = [a != b for a, b in pairwise(ids)]  # equal ones need a blank between them
    if L + is_new.count(False) > N:
        return None
    score_NS = np.repeat(scores_NL[:, :1], 2 * L + 1, axis=1)
    score_NS[:, 1::2] = scores_NL[:, 1:]
    may_skip_S = np.zeros(2 * L + 1, dtype=bool)  # the blank before a token
    may_skip_S[3::2] = is_new
    best_S = np.full(2 * L + 1, -np.inf)
    best_S[:2] = score_NS[0, :2]
    steps_NS = np.zeros((N, 2 * L + 1), dtype=int)  # by how many states a path has gone on
    for n in range(1, N):
        one_S, two_S = (np.concatenate([np.full(k, -np.inf), best_S[:-k]]) for k in (1, 2))
        ways = np.stack([best_S, one_S, np.where(may_skip_S, two_S, -np.inf)])
        steps_NS[n] = ways.argmax(axis=0)
        best_S = ways.max(axis=0) + score_NS[n]
    state = 2 * L - (best_S[-2] > best_S[-1])
    found: list[tuple[int, int]] = [(0, 0)] * L
    for n in range(N - 1, -1, -1):
        if state % 2:
            k = state // 2
            found[k] = (n, found[k][1] if found[k][1] > n else n)
        state -= steps_NS[n, state]
    return found


def times(spans: list[tuple[int, int]], num: int, token_s: float) -> list[tuple[float, float]]:
    """Start and end of words in seconds, from the positions of their first and last tokens.

    A token is heard within its word, seldom at its start. So words meet in the middle of what lies
    between their tokens, but a word starts at most one position before its first one, and ends at
    most LATEST_S after its last one.
    """
    starts, before = [], 0
    for first, last in spans:
        starts.append(first - min((first - before) / 2, 1))
        before = last + 1
    ends = [*starts[1:], (before + num) / 2]
    return [
        (start * token_s, min(end * token_s, (last + 1) * token_s + LATEST_S))
        for start, end, (_, last) in zip(starts, ends, spans, strict=True)
    ]

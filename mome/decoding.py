"""Text from a trained model at a scale chosen by the caller: a batch, a set, sets at scales.

`mome.search` searches, greedily or with beams; nothing is sampled. The limit on new tokens comes
from each clip's length, so an utterance's text does not depend on its neighbours in the batch.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from mome import checkpoint
from mome.compression import Scale
from mome.config import Config, DecodeConfig
from mome.data import FPS
from mome.data.dataset import FeatureDataset, to_device
from mome.data.progress import Progress
from mome.encoders import load_video_encoder
from mome.model import MoMEModel, load_llm
from mome.search import search as find_texts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hypothesis:
    """What a model reads in a clip.

    Attributes:
        text: words with single spaces between them.
        score: mean log-probability of its tokens, EOS included, in nats: 0 is certain.
        num_tokens: of the text, EOS included.
        num_prompt_tokens: that the LLM read before it: audio, video, instruction.
    """

    text: str
    score: float
    num_tokens: int
    num_prompt_tokens: int


def decode(
    model: MoMEModel,
    tokenizer: Any,
    batch: dict,
    scale: Scale,
    search: DecodeConfig,
    fill: bool = False,
) -> list[str]:
    """The text of each utterance of a batch (as MoMEModel.forward takes it) at a scale.

    With `fill`, a text gets as many tokens as it may, for measurements. Raises ValueError for a
    scale of another task or one that an utterance is too short for.
    """
    return [
        found.text for found in decode_scored(model, tokenizer, batch, scale, search, fill=fill)
    ]


@torch.inference_mode()
def decode_scored(
    model: MoMEModel,
    tokenizer: Any,
    batch: dict,
    scale: Scale,
    search: DecodeConfig,
    on_text: Callable[[list[str]], None] | None = None,
    fill: bool = False,
) -> list[Hypothesis]:
    """As `decode`, with the score of each text.

    `on_text` is called after each step of the search with the texts so far; with several beams,
    with those of the best one.
    """
    model.eval()
    prompts = model.prompts(scale, **batch)
    beams = find_texts(
        model.llm,
        prompts,
        [limit(seconds, search) for seconds in durations(model, batch)],
        model.eos,
        search.num_beams,
        search.length_penalty,
        on_text and (lambda rows: on_text(texts_of(tokenizer, rows))),
        fill,
    )
    texts = texts_of(tokenizer, [beam.ids for beam in beams])
    return [
        Hypothesis(text, beam.log_prob / len(beam.ids), len(beam.ids), len(prompt))
        for text, beam, prompt in zip(texts, beams, prompts, strict=True)
    ]


def texts_of(tokenizer: Any, rows: list[list[int]]) -> list[str]:
    """Token ids as text, with single spaces."""
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [" ".join(text.split()) for text in texts]


def durations(model: MoMEModel, batch: dict) -> list[float]:
    """Seconds of each utterance, by its longer stream."""
    there = [s for s in model.streams if f"{s}_lengths" in batch]  # a scale may read one alone
    per_stream = [[n / FPS[s] for n in batch[f"{s}_lengths"].tolist()] for s in there]
    return [max(row) for row in zip(*per_stream, strict=True)]


def limit(seconds: float, search: DecodeConfig) -> int:
    """The most new tokens a clip of this length may get."""
    return math.ceil(seconds * search.tokens_per_second) + search.extra_tokens


def load_model(
    model_dir: Path, cfg: Config, device: str | torch.device, base_dirs: Sequence[str | Path] = ()
) -> tuple[MoMEModel, Any, dict]:
    """A trained model, its tokenizer and what base.json says.

    LLM and encoders are found as `checkpoint.resolve` says, also in `base_dirs`. Raises ValueError
    when they, the settings or the weights are not those of the training run.
    """
    base = checkpoint.read_base(model_dir)
    cfg = checkpoint.resolve(cfg, model_dir, base_dirs)
    try:
        llm, tokenizer = load_llm(cfg.model, device)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{model_dir} needs its LLM: {error} (--base)") from None
    if (model_dir / checkpoint.TOKENIZER).is_dir():
        tokenizer = AutoTokenizer.from_pretrained(model_dir / checkpoint.TOKENIZER)
    checkpoint.check(model_dir, cfg, llm, tokenizer)
    model = MoMEModel(cfg.model, llm, tokenizer, base["frame_dims"]).to(device)
    if cfg.encoders.video_lora_rank:
        encoder = load_video_encoder(cfg.encoders.video, device)
        encoder.add_lora(cfg.encoders.video_lora_rank, cfg.encoders.video_lora_alpha)
        model.add_video_encoder(encoder)
    load_into(model, model_dir)
    model.to(llm.dtype)
    return model.eval(), tokenizer, base


def load_into(model: MoMEModel, model_dir: str | Path) -> None:
    """Give a freshly built model the trained weights of a folder.

    Raises ValueError when weights are missing, unknown or of another shape. The CTC alignment
    serves training alone: it may be missing or unknown.
    """
    own, weights = (
        {name: value for name, value in found.items() if not name.startswith("alignment.")}
        for found in (model.trained(), checkpoint.read(model_dir))
    )
    for name in own.keys() & weights.keys():  # version 0.1 stored the experts' outputs transposed
        if name.endswith(".adapter.out") and weights[name].shape == own[name].shape[::-1]:
            weights[name] = weights[name].T
    odd = sorted(own.keys() ^ weights.keys()) or sorted(
        name for name in own if own[name].shape != weights[name].shape
    )
    if odd:
        raise ValueError(
            f"{model_dir}/{checkpoint.FILE} does not fit its configuration: {len(odd)} weights are"
            f" missing, unknown or of another shape, such as {odd[0]}"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def other_video(data: FeatureDataset) -> dict[str, str]:
    """video.scp of a set in which each utterance has the video of another one, the next by length.

    The lengths of audio and video then differ a little; the model gets all frames of the video.
    """
    order = sorted(data.utterances, key=lambda u: (data.num_frames["video"][u], u))
    if len(order) < 2:
        raise ValueError(f"{data.dir} has one utterance: there is no other video to give it")
    scp = data.source.scps["video"]
    return {u: scp[v] for u, v in zip(order, order[1:] + order[:1], strict=True)}


def decode_set(
    model: MoMEModel,
    tokenizer: Any,
    data: FeatureDataset,
    scale: Scale,
    search: DecodeConfig,
    video: str = "own",
) -> dict[str, Hypothesis]:
    """What is read in each utterance of a set; with `video` "zeroed", in frames of zeros."""
    longest_first = sorted(range(len(data)), key=lambda i: (-data.length(i), data.utterances[i]))
    size, device = search.batch_size, next(model.parameters()).device
    hypotheses: dict[str, Hypothesis] = {}
    with Progress(f"{scale} {data.dir.name}", len(data)) as progress:
        for start in range(0, len(data), size):
            with torch.inference_mode():
                batch = model.encode_mouths(data.collate(longest_first[start : start + size]))
            if video == "zeroed":
                batch["video"] = torch.zeros_like(batch["video"])
            found = decode_scored(model, tokenizer, to_device(batch, device), scale, search)
            hypotheses |= dict(zip(batch["utterances"], found, strict=True))
            progress.update(len(found))
    return hypotheses

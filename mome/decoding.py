"""Text from a trained model at a scale chosen by the caller: a batch, a set, sets at scales.

Hugging Face's `generate` searches, greedily or with beams; nothing is sampled. Two things are ours:
the prompt is computed once per utterance and repeated over beams, and the limit on new tokens comes
from each clip's length, so an utterance's text does not depend on its neighbours in the batch.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer, DynamicCache, LogitsProcessor, LogitsProcessorList

from mome import checkpoint
from mome.compression import Scale, scales_of
from mome.config import Config, DecodeConfig
from mome.data import AUDIO_FPS, VIDEO_FPS
from mome.data.dataset import FeatureDataset, to_device
from mome.data.progress import Progress
from mome.encoders import load_video_encoder
from mome.model import MoMEModel, load_llm
from mome.prompt import pad_left, pad_right

SECONDS = {"audio": 1 / AUDIO_FPS, "video": 1 / VIDEO_FPS}  # of a frame
log = logging.getLogger(__name__)


@dataclass
class Limit(LogitsProcessor):
    """Ends each row after its own number of new tokens.

    Rows are utterances, each repeated `num_beams` times.
    """

    limits: list[int]
    num_beams: int
    eos: int

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # The prompt is given as embeddings, so `input_ids` holds only the new tokens.
        limit = torch.tensor(self.limits, device=scores.device).repeat_interleave(self.num_beams)
        over = limit <= input_ids.shape[1]
        end = torch.full_like(scores, -math.inf)
        end[:, self.eos] = scores[:, self.eos]  # keeps its score, so beams compare fairly
        return torch.where(over[:, None], end, scores)


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
    model: MoMEModel, tokenizer: Any, batch: dict, scale: Scale, search: DecodeConfig
) -> list[str]:
    """The text of each utterance of a batch (as MoMEModel.forward takes it) at a scale.

    Raises ValueError for a scale of another task or one that an utterance is too short for.
    """
    generated_BL = _search(model, tokenizer, batch, scale, search)[0]
    return texts_of(tokenizer, generated_BL)


def decode_scored(
    model: MoMEModel,
    tokenizer: Any,
    batch: dict,
    scale: Scale,
    search: DecodeConfig,
    on_text: Callable[[list[str]], None] | None = None,
) -> list[Hypothesis]:
    """As `decode`, with the score of each text; takes one more pass of the LLM over the texts.

    `on_text` is called after each step of the search with the texts so far; with several beams,
    with those of the best one.
    """
    watch = on_text and Watch(tokenizer, search.num_beams, on_text)
    generated_BL, prompts, cache = _search(model, tokenizer, batch, scale, search, watch)
    texts = texts_of(tokenizer, generated_BL)
    rows = [ids_to_eos(row, model.eos) for row in generated_BL.tolist()]
    scores = mean_log_probs(model, prompts, cache, rows, search.num_beams)
    return [
        Hypothesis(text, score, len(row), len(prompt))
        for text, score, row, prompt in zip(texts, scores, rows, prompts, strict=True)
    ]


@torch.inference_mode()
def _search(
    model: MoMEModel,
    tokenizer: Any,
    batch: dict,
    scale: Scale,
    search: DecodeConfig,
    watch: LogitsProcessor | None = None,
) -> tuple[Tensor, list[Tensor], DynamicCache]:
    """New tokens (B, L), the prompts, and the cache, whose beginning is that of the prompts."""
    model.eval()
    prompts = model.prompts(scale, **batch)
    x_BND, padding_mask_BN = pad_left(prompts)
    limits = [limit(seconds, search) for seconds in durations(model, batch)]
    processors = [Limit(limits, search.num_beams, model.eos), *([watch] if watch else [])]
    cache = prompt_cache(model.llm, x_BND, padding_mask_BN, search.num_beams)
    generated_BL = model.llm.generate(
        inputs_embeds=x_BND,
        attention_mask=padding_mask_BN.long(),
        past_key_values=cache,
        max_new_tokens=max(limits) + 1,  # and EOS
        logits_processor=LogitsProcessorList(processors),
        num_beams=search.num_beams,
        length_penalty=search.length_penalty if search.num_beams > 1 else None,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=model.eos,
        pad_token_id=model.eos,
    )
    return generated_BL, prompts, cache


def texts_of(tokenizer: Any, ids_BL: Tensor) -> list[str]:
    """Token ids as text, with single spaces."""
    texts = tokenizer.batch_decode(ids_BL, skip_special_tokens=True)
    return [" ".join(text.split()) for text in texts]


def ids_to_eos(ids: list[int], eos: int) -> list[int]:
    """The ids up to the first EOS, which is included."""
    return ids[: ids.index(eos) + 1] if eos in ids else ids


@dataclass
class Watch(LogitsProcessor):
    """Changes nothing; reports the texts so far, those of the first beam of each utterance."""

    tokenizer: Any
    num_beams: int
    report: Callable[[list[str]], None]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.report(texts_of(self.tokenizer, input_ids[:: self.num_beams]))
        return scores


@torch.inference_mode()
def mean_log_probs(
    model: MoMEModel,
    prompts: list[Tensor],
    cache: DynamicCache,
    rows: list[list[int]],
    num_beams: int = 1,
) -> list[float]:
    """The mean log-probability of the tokens of each row after its prompt.

    `cache` begins with all prompt positions but the last, repeated over beams.
    """
    x_BND, mask_BN = pad_left(prompts)
    N = x_BND.shape[1]
    if extra := cache.get_seq_length() - (N - 1):
        cache.crop(-extra)
    if num_beams > 1:
        cache.batch_select_indices(torch.arange(len(rows), device=x_BND.device) * num_beams)
    ids_BL, mask_BL = pad_right([torch.tensor(row, device=x_BND.device) for row in rows])
    words_BLD = model.llm.get_input_embeddings()(ids_BL[:, :-1]).to(x_BND.dtype)
    mask_BN = torch.cat([mask_BN, mask_BL[:, :-1]], dim=1).long()
    position_BN = (mask_BN.cumsum(dim=1) - 1).clamp(min=0)
    hidden_BLD = model.llm.model(
        inputs_embeds=torch.cat([x_BND[:, -1:], words_BLD], dim=1),
        attention_mask=mask_BN,
        position_ids=position_BN[:, N - 1 :],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    found = []
    for hidden_LD, row in zip(hidden_BLD, rows, strict=True):
        logits_LV = model.llm.lm_head(hidden_LD[: len(row)]).float()
        ids_L = torch.tensor(row, device=logits_LV.device)
        found.append(-F.cross_entropy(logits_LV, ids_L).item())
    return found


def prompt_cache(llm: Any, x_BND: Tensor, padding_mask_BN: Tensor, num_beams: int) -> DynamicCache:
    """The keys and values of all prompt positions but the last, repeated over beams.

    `generate` then starts at the last one. Without this it computes the prompt once per beam.
    """
    cache = DynamicCache(config=llm.config)
    position_BN = (padding_mask_BN.long().cumsum(dim=1) - 1).clamp(min=0)
    llm.model(
        inputs_embeds=x_BND[:, :-1],
        attention_mask=padding_mask_BN[:, :-1].long(),
        position_ids=position_BN[:, :-1],
        past_key_values=cache,
        use_cache=True,
    )
    if num_beams > 1:
        cache.batch_repeat_interleave(num_beams)
    return cache


def durations(model: MoMEModel, batch: dict) -> list[float]:
    """Seconds of each utterance, by its longer stream."""
    there = [s for s in model.streams if f"{s}_lengths" in batch]  # a scale may read one alone
    per_stream = [[n * SECONDS[s] for n in batch[f"{s}_lengths"].tolist()] for s in there]
    return [max(row) for row in zip(*per_stream, strict=True)]


def limit(seconds: float, search: DecodeConfig) -> int:
    """The most new tokens a clip of this length may get."""
    return math.ceil(seconds * search.tokens_per_second) + search.extra_tokens


def find_model(exp_dir: Path, name: str) -> Path:
    """The model folder `name` of an experiment: best, average or checkpoints/step_<n>.

    Raises FileNotFoundError, which names the models there are.
    """
    if not (exp_dir / "config.yaml").exists():
        raise FileNotFoundError(f"{exp_dir}/config.yaml is missing: run stage 3 to train")
    model_dir = exp_dir / name
    if not (model_dir / checkpoint.FILE).exists():
        folders = [exp_dir / "best", exp_dir / "average", *checkpoint.steps(exp_dir)]
        found = [str(p.relative_to(exp_dir)) for p in folders if (p / checkpoint.FILE).exists()]
        raise FileNotFoundError(
            f"{exp_dir} has no model {name}; it has {', '.join(found) or 'none: run stage 3'}"
        )
    return model_dir


def find_set(sets_dir: Path, name: str) -> Path:
    """The directory of a set; FileNotFoundError, which names the sets there are, if it is none."""
    if not (sets_dir / name / "text").exists():
        found = sorted(path.parent.name for path in sets_dir.glob("*/text"))
        raise FileNotFoundError(
            f"{sets_dir} has no set {name}; it has {', '.join(found) or 'none'}: run the stages of"
            " the recipe before this one"
        )
    return sets_dir / name


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
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"{model_dir} needs the LLM {cfg.model.llm}, which is no folder here and cannot be"
            f" loaded from the hub ({reason}): give the folder that it is in (--base)"
        ) from None
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


def choose_scales(cfg: Config, names: list[str] | None) -> list[Scale]:
    """The scales of these names, those trained by default; a warning for one not trained."""
    trained = scales_of(cfg.model.task, cfg.model.audio_rates, cfg.model.video_rates)
    scales = [Scale.parse(name) for name in names] if names else trained
    names_trained = ", ".join(map(str, trained))
    for scale in scales:
        if scale not in trained:
            log.warning(f"scale {scale} was not trained; these were: {names_trained}")
    return scales


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

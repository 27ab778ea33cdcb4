"""What a trained model does with the tokens of a test set: its routers, and how alike tokens are.

The model reads prompt and reference text at every scale, as in training. Hooks collect the router's
probabilities in each adapter and some hidden states after each layer; the model stays as it is.
Load by scale and layer is Fig. 5 and 9 of MoME, the similarity of tokens Fig. 4 and 8.

Shape key
    A  adapters    B  batch    N  tokens    R  routed experts    D  width of the LLM
    F  frames, or tokens of text    L  layers; 0 is before the LLM    C  a stream at a scale
    M  moments of an utterance    P  the moments of each stream
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mome.compression import Scale
from mome.data import FPS
from mome.data.dataset import AUDIO_FRAMES, FeatureDataset, to_device
from mome.data.progress import Progress
from mome.inject import adapters, decoder_layers
from mome.model import STREAMS, MoMEModel, texts_of, with_lengths_on_cpu
from mome.prompt import pad_right
from mome.scoring.routing import KINDS, RouterSums, chosen_experts
from mome.scoring.similarity import SimilaritySums

MOST_MOMENTS = 16  # of an utterance whose tokens are compared


@dataclass(frozen=True)
class Layout:
    """Where the tokens of an utterance stand in its sequence at a scale.

    Attributes:
        kind_N: their kinds, as places in `KINDS`.
        at_frame: audio, video -> place of the token that covers each frame, (F,); text -> places.
    """

    kind_N: Tensor
    at_frame: dict[str, Tensor]


@dataclass(frozen=True)
class Reading:
    """What was seen when the model read an utterance at a scale.

    Attributes:
        probs_ANR: probabilities of the routers, float32; None without routers.
        states: audio, video -> hidden states at the moments, (L, M, D), of length 1.
    """

    layout: Layout
    probs_ANR: Tensor | None
    states: dict[str, Tensor]


def analyse(
    model: MoMEModel,
    data: FeatureDataset,
    scales: list[Scale],
    num_utterances: int | None = None,
    batch_size: int = 8,
) -> dict[str, Any]:
    """Statistics of a test set at some scales; `num_utterances` are taken evenly from its list.

    Returns `utterances`, their number; `experts`, see RouterSums.summary, or None without routers;
    `similarity`, see SimilaritySums.summary; and `example`, see `token_cosines`.
    """
    num = min(num_utterances or len(data), len(data))
    picks = np.linspace(0, len(data) - 1, num).round().astype(int).tolist()
    picks.sort(key=lambda i: (-data.length(i), data.utterances[i]))
    columns = [(stream, scale) for scale in scales for stream in STREAMS[scale.task]]
    cosines = SimilaritySums(columns)
    config = model.config
    routers = RouterSums(config.num_active) if config.adapter == "mome" else None
    before: dict[Scale, Reading] = {}  # the utterance before this one: what chance is taken from
    with Progress(f"{data.dir.name}", num) as progress:
        for start in range(0, num, batch_size):
            batch = read(model, data, picks[start : start + batch_size])
            for readings in read_at_scales(model, batch, scales):
                if routers is not None:
                    add_to_routers(routers, readings, before)
                states = _stacked(readings, columns)
                cosines.add(states, _stacked(before, columns) if before else None)
                before = readings
                progress.update()
    middle = read(model, data, [picks[num // 2]])
    experts = None
    if routers is not None:
        sizes = ("num_routed", "num_active", "num_shared", "router")
        experts = {name: getattr(config, name) for name in sizes} | routers.summary()
    return {
        "utterances": num,
        "scales": [str(scale) for scale in scales],
        "experts": experts,
        "similarity": cosines.summary(),
        "example": {"utterance": middle["utterances"][0]} | token_cosines(model, middle, scales),
    }


def read(model: MoMEModel, data: FeatureDataset, picks: list[int]) -> dict:
    """A batch on the device of the model, with frames in place of mouths."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        batch = model.encode_mouths(data.collate(picks))
    return with_lengths_on_cpu(to_device(batch, device))


# ---- one batch ----------------------------------------------------------------------------------


@torch.inference_mode()
def read_at_scales(
    model: MoMEModel, batch: dict, scales: list[Scale]
) -> list[dict[Scale, Reading]]:
    """Let the model read a batch at every scale; what was seen, for each utterance."""
    model.eval()
    text = texts_of(batch)
    layouts = {scale: layouts_of(model, batch, scale) for scale in scales}
    moments = [
        moments_of([layouts[scale][b] for scale in scales], scales) for b in range(len(text))
    ]
    found: list[dict[Scale, Reading]] = [{} for _ in text]
    for scale in scales:
        places = [
            {s: layout.at_frame[s][frames[s]] for s in STREAMS[scale.task]}
            for layout, frames in zip(layouts[scale], moments, strict=True)
        ]
        prompts = model.prompts(scale, **batch)
        embed = model.llm.get_input_embeddings()
        rows = [torch.cat([p, embed(t)]) for p, t in zip(prompts, text, strict=True)]
        x_BND, _ = pad_right(rows)
        place_BP = pad_right([torch.cat(list(p.values()))[:, None] for p in places])[0][..., 0]
        with recorded(model, place_BP) as (probs, states):
            states.append(_states_at(x_BND, place_BP))
            model.llm.model(inputs_embeds=x_BND, use_cache=False)
        probs_BANR = torch.stack(probs, dim=1).cpu() if probs else None
        states_BLPD = torch.stack(states, dim=1)
        for b, layout in enumerate(layouts[scale]):
            sizes = [len(place) for place in places[b].values()]
            parts = states_BLPD[b, :, : sum(sizes)].split(sizes, dim=1)
            probs_ANR = None if probs_BANR is None else probs_BANR[b, :, : len(layout.kind_N)]
            found[b][scale] = Reading(layout, probs_ANR, dict(zip(places[b], parts, strict=True)))
    return found


def layouts_of(model: MoMEModel, batch: dict, scale: Scale) -> list[Layout]:
    """Where the tokens of each utterance of a batch stand, see `mome.prompt`; on the CPU."""
    projected = model.project(scale, **batch)  # raises ValueError for a scale it cannot have
    num_instruction = len(model.get_buffer(f"instruction_{scale.task}"))
    layouts = []
    for b, num_text in enumerate(batch["text_lengths"].tolist()):
        kinds, at_frame = ["other"] * len(model.bos), {}
        for stream, tokens in projected.items():
            rate, num_frames = getattr(scale, stream), int(batch[f"{stream}_lengths"][b])
            num = len(tokens[b])  # a tail that is dropped has no token
            kinds.append("other")
            at_frame[stream] = torch.arange(min(num_frames, num * rate)) // rate + len(kinds)
            kinds += [stream] * num + ["other"]
        kinds += ["other"] * num_instruction
        at_frame["text"] = torch.arange(num_text) + len(kinds)
        kinds += ["text"] * num_text
        layouts.append(Layout(torch.tensor([KINDS.index(kind) for kind in kinds]), at_frame))
    return layouts


def moments_of(layouts: list[Layout], scales: list[Scale]) -> dict[str, Tensor]:
    """The frames of each stream at some moments of an utterance, the same time in every stream.

    The moments are the centres of spans as long as the longest token, so no two of them fall into
    one token. There are none in an utterance that is shorter than that.
    """
    in_audio_frames = {"audio": 1, "video": AUDIO_FRAMES}
    longest = max(
        getattr(scale, s) * in_audio_frames[s] for scale in scales for s in STREAMS[scale.task]
    )
    end = min(
        len(layout.at_frame[s]) * n
        for layout in layouts
        for s, n in in_audio_frames.items()
        if s in layout.at_frame
    )
    num = end // longest
    spans = torch.linspace(0, max(num - 1, 0), min(num, MOST_MOMENTS)).round().long()
    centres = spans * longest + longest // 2
    return {stream: centres // n for stream, n in in_audio_frames.items()}


@contextlib.contextmanager
def recorded(model: MoMEModel, place_BP: Tensor) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Record forward passes of the LLM in the block.

    Gives two lists that are filled layer by layer: the router's probabilities (B, N, R) of each
    MoME adapter, and the hidden states (B, P, D) at the places `place_BP`.
    """
    probs: list[Tensor] = []
    states: list[Tensor] = []

    def keep_probabilities(adapter: Any, args: tuple) -> None:
        probs.append(adapter.probabilities(args[0]))

    def keep_states(layer: Any, args: tuple, output: Any) -> None:
        states.append(_states_at(output[0] if isinstance(output, tuple) else output, place_BP))

    hooks = [layer.register_forward_hook(keep_states) for layer in decoder_layers(model.llm)]
    if model.config.adapter == "mome":
        hooks += [a.register_forward_pre_hook(keep_probabilities) for a in adapters(model.llm)]
    try:
        yield probs, states
    finally:
        for hook in hooks:
            hook.remove()


def _states_at(x_BND: Tensor, place_BP: Tensor) -> Tensor:
    """Hidden states at some places, (B, P, D), of length 1, on the CPU."""
    place_BP = place_BP.to(x_BND.device)
    x_BPD = x_BND[torch.arange(len(x_BND), device=x_BND.device)[:, None], place_BP]
    return F.normalize(x_BPD.float(), dim=-1).cpu()


# ---- comparisons --------------------------------------------------------------------------------


def add_to_routers(
    sums: RouterSums, readings: dict[Scale, Reading], before: dict[Scale, Reading]
) -> None:
    """Count an utterance, and compare scales within it and with the utterance before it.

    Audio is compared between two audio rates, video between two video rates, and text between any
    two scales. At one rate, audio tokens are the same whatever follows them.
    """
    for scale, reading in readings.items():
        assert reading.probs_ANR is not None
        sums.add(str(scale), reading.probs_ANR, reading.layout.kind_N)
    mine = {scale: _experts_by_kind(reading, sums) for scale, reading in readings.items()}
    theirs = {scale: _experts_by_kind(reading, sums) for scale, reading in before.items()}
    for one, two in itertools.combinations(readings, 2):
        for kind in mine[one].keys() & mine[two].keys():
            if kind != "text" and getattr(one, kind) == getattr(two, kind):
                continue
            names = (str(one), str(two))
            sums.add_pair(kind, names, mine[one][kind], mine[two][kind], same=True)
            if before:
                sums.add_pair(kind, names, mine[one][kind], theirs[two][kind], same=False)


def _experts_by_kind(reading: Reading, sums: RouterSums) -> dict[str, Tensor]:
    """Kind -> the experts of the token that covers each frame, (A, F, R) bool."""
    assert reading.probs_ANR is not None
    chosen_ANR = chosen_experts(reading.probs_ANR, sums.num_active)
    return {kind: chosen_ANR[:, place_F] for kind, place_F in reading.layout.at_frame.items()}


def _stacked(readings: dict[Scale, Reading], columns: list[tuple[str, Scale]]) -> Tensor:
    """The hidden states of every stream and scale, (L, C, M, D)."""
    return torch.stack([readings[scale].states[stream] for stream, scale in columns], dim=1)


@torch.inference_mode()
def token_cosines(model: MoMEModel, batch: dict, scales: list[Scale]) -> dict[str, Any]:
    """Cosines of all projected tokens of the first utterance of a batch, before the LLM.

    Returns `panels`: the finest rate of a stream against its coarsest, then audio against video at
    the finest and at the coarsest rates. A panel has the names of its rows and columns, the times
    in seconds at which their tokens begin and end, and `cosine`, a list of rows.
    """
    by_rate = {(s, getattr(scale, s)): scale for scale in scales for s in STREAMS[scale.task]}
    rates: dict[str, list[int]] = {}
    for stream, rate in sorted(by_rate):
        rates.setdefault(stream, []).append(rate)
    pairs = [((s, r[0]), (s, r[-1])) for s, r in rates.items()]
    if len(rates) == 2:
        ends = (0, -1) if any(len(r) > 1 for r in rates.values()) else (0,)
        pairs += [(("audio", rates["audio"][k]), ("video", rates["video"][k])) for k in ends]
    panels = []
    for pair in pairs:
        panel: dict[str, Any] = {}
        tokens = []
        for side, (stream, rate) in zip(("rows", "columns"), pair, strict=True):
            x_ND = model.project(by_rate[stream, rate], **batch)[stream][0]
            tokens.append(F.normalize(x_ND.float(), dim=-1).cpu())
            end = int(batch[f"{stream}_lengths"][0])
            if model.config.drop_tail:
                end = len(x_ND) * rate
            edges = [min(k * rate, end) / FPS[stream] for k in range(len(x_ND) + 1)]
            panel |= {side: f"{stream} {stream[0]}{rate}", f"{side}_s": edges}
        panels.append(panel | {"cosine": (tokens[0] @ tokens[1].T).tolist()})
    return {"panels": panels}

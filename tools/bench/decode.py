#!/usr/bin/env python
"""What decoding costs: python tools/bench/decode.py --shape 1b --json FILE

Decodes clips of several lengths, one and eight at a time, with one beam and with 15 (MoME A.3), in
one process and in turns, so that whatever else the machine does falls on all systems. Random
weights and random clips; texts of 4 tokens a second. With --exp, a trained experiment reads the
clips of --clips instead, and its texts are as long as they are. The systems read the same frames:

    mome    mome.decoding: prompts read once, beams as a tree, clips together
    peers   as published systems call transformers' `generate`: clip by clip, and the prompt is
            repeated over the beams before it is read. Their sampling and their limit of 32 tokens
            are left out, so that the texts can be compared
    loop    as mome, but with the usual form of MoME, one expert after the other
    llm     the least that is usual: the frozen LLM alone reads prompts of the same length once,
            repeats their keys and values over the beams, and reads as many tokens; no search

`whole` is peers / mome with the encoders, which is Whisper on 30 s, clip by clip, for peers, and on
the clips' own length for mome; the video encoder is the same. The texts of mome, peers and loop
must be the same; in bfloat16 their rounding differs, and so may texts, which is then only reported.
"""

import argparse
import copy
import itertools
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from adapters import Loop, ratio, rounds
from features import avhubert, whisper
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from train import (
    RECIPES,
    TEXT_PER_S,
    append,
    batch_of,
    clips,
    device_and_dtype,
    environment,
    random_encoders,
    random_llm,
    settings,
    sharing,
)
from transformers import DynamicCache, LogitsProcessor

import mome
from mome import decoding
from mome.bin.pretrain_video import SMALL
from mome.compression import Scale
from mome.config import DecodeConfig
from mome.data import VIDEO_FPS
from mome.data.dataset import to_device
from mome.inject import adapters
from mome.model import MoMEModel
from mome.prompt import pad_left
from mome.scoring.scale_cost import Words

SYSTEMS = ("mome", "peers", "loop", "llm")
GOALS = {"peers": "at least 2", "mome / llm": "at most 1.15"}


@dataclass(frozen=True)
class Subject:
    """What is measured: a model, its form with a loop over experts, the bare LLM, encoders."""

    model: Any
    loop: Any
    llm: Any
    tokenizer: Any
    encoders: dict[str, Any]
    search: DecodeConfig
    fill: bool  # whether texts are as long as they may be


@dataclass(frozen=True)
class Case:
    """Some clips, what they are decoded with, and their frames."""

    media: list
    batch: dict
    num_beams: int

    @property
    def clip_s(self) -> float:
        return statistics.fmean(len(mouth) for _, mouth in self.media) / VIDEO_FPS


# ---- what is measured ----------------------------------------------------------------------------


def untrained(shape: str, device: str, dtype: torch.dtype) -> Subject:
    """Random weights of the shapes of a recipe."""
    llm = random_llm(shape, device, dtype)
    cfg = settings(shape, "MoME").model
    if shape == "135m":
        encoders = {"audio": whisper(device, 384, 4, 6), "video": avhubert(device, **SMALL)}
    else:
        encoders = random_encoders(shape, device, pad=False)
    dims: dict[str, Any] = {stream: encoder.dim for stream, encoder in encoders.items()}
    bare = sharing(llm)
    model: Any = MoMEModel(cfg, llm, Words(), dims)
    for adapter in adapters(llm):  # as after training
        torch.nn.init.normal_(adapter.out, std=0.01)
    model = model.to(device, dtype).eval()
    search = DecodeConfig(tokens_per_second=TEXT_PER_S, extra_tokens=0)
    return Subject(model, with_loop(model), bare, Words(), encoders, search, True)


def trained(exp_dir: Path, device: str) -> Subject:
    """The model of an experiment."""
    found = mome.load_model(exp_dir, device)
    model = found.model
    bare = sharing(model.llm)
    for module in bare.modules():
        if hasattr(module, "adapter"):
            del module.adapter
            module._forward_hooks.clear()
            module._forward_hooks_with_kwargs.clear()
    for layer in bare.model.layers:  # position "layer" keeps the output of this norm
        layer.input_layernorm._forward_hooks.clear()
    return Subject(
        model, with_loop(model), bare, found.tokenizer, found.encoders, found.config.decode, False
    )


def with_loop(model: Any) -> Any:
    """The same model, with the same weights, that runs one expert after the other."""
    other = sharing(model)
    for adapter in adapters(other.llm):
        adapter.__class__ = Loop
    return other


def media_of(paths: list[Path], subject: Subject, exp_dir: Path, device: str) -> list:
    """Sound and mouth of each file that is no longer than a clip of the training."""
    found = []
    recogniser = mome.load_model(exp_dir, device)
    for path in paths:
        recording = mome.open_recording(recogniser, path)
        pieces = list(recording.pieces(recogniser.most_s))
        if len(pieces) == 1 and pieces[0].sound is not None and pieces[0].mouth is not None:
            found.append((pieces[0].sound, pieces[0].mouth))
    return found


def encode(encoders: dict[str, Any], media: list) -> dict[str, Any]:
    """Frames of the clips, as MoMEModel.prompts takes them."""
    batch: dict[str, Any] = {}
    for stream, inputs in zip(("audio", "video"), zip(*media, strict=True), strict=True):
        if stream in encoders:
            frames = encoders[stream](list(inputs))
            batch[stream] = pad_sequence(frames, batch_first=True)
            batch[f"{stream}_lengths"] = torch.tensor([len(x) for x in frames])
    return batch


def encode_as_peers(encoders: dict[str, Any], media: list) -> None:
    """Encode clip by clip, the sound with silence up to 30 s."""
    padded = copy.copy(encoders["audio"])
    padded.pad_to_30s = True
    for clip in media:
        encode(encoders | {"audio": padded}, [clip])


# ---- the systems ---------------------------------------------------------------------------------


class EndAt(LogitsProcessor):
    """For `generate`: EOS alone after so many tokens, with its own score, and before if it may."""

    def __init__(self, limit: int, eos: int, fill: bool):
        self.limit, self.eos, self.fill = limit, eos, fill

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        is_last = input_ids.shape[1] >= self.limit
        if not is_last and not self.fill:
            return scores
        kept = scores[:, self.eos].clone()
        scores = torch.full_like(scores, -math.inf) if is_last else scores.clone()
        scores[:, self.eos] = kept if is_last else -math.inf
        return scores


@torch.inference_mode()
def as_peers(subject: Subject, case: Case, scale: Scale) -> list[str]:
    """The texts by `generate`, clip by clip."""
    model, texts = subject.model, []
    seconds = decoding.durations(model, case.batch)
    for b, prompt in enumerate(model.prompts(scale, **case.batch)):
        limit = decoding.limit(seconds[b], subject.search)
        ids = model.llm.generate(
            inputs_embeds=prompt[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long, device=prompt.device),
            max_new_tokens=limit + 1,
            logits_processor=[EndAt(limit, model.eos, subject.fill)],
            num_beams=case.num_beams,
            length_penalty=subject.search.length_penalty if case.num_beams > 1 else None,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            bos_token_id=subject.tokenizer.bos_token_id,
            eos_token_id=model.eos,
            pad_token_id=model.eos,
        )[0].tolist()
        rows = [ids[: ids.index(model.eos) + 1] if model.eos in ids else ids]
        texts += decoding.texts_of(subject.tokenizer, rows)
    return texts


@torch.inference_mode()
def llm_alone(llm: Any, prompt_BND: Tensor, num_new: int, num_beams: int) -> None:
    """Prompts once, then so many tokens for each beam, whatever they are."""
    cache = DynamicCache()
    hidden = llm.model(inputs_embeds=prompt_BND, past_key_values=cache, use_cache=True)[0]
    llm.lm_head(hidden[:, -1:].contiguous())
    if num_beams > 1:
        cache.batch_repeat_interleave(num_beams)
    token = torch.zeros(len(prompt_BND) * num_beams, 1, dtype=torch.long, device=llm.device)
    for _ in range(num_new):
        llm.lm_head(llm.model(input_ids=token, past_key_values=cache, use_cache=True)[0])


def calls_of(subject: Subject, case: Case, scale: Scale) -> tuple[dict[str, Callable], int]:
    """A call for each system and for the encoders; the tokens of the longest text with EOS."""
    search = replace(subject.search, num_beams=case.num_beams)
    given = (subject.tokenizer, case.batch, scale, search)
    found = decoding.decode_scored(subject.model, *given, fill=subject.fill)
    num_tokens = max(hypothesis.num_tokens for hypothesis in found)
    with torch.inference_mode():
        prompt_BND = pad_left(subject.model.prompts(scale, **case.batch))[0]
    calls: dict[str, Callable] = {
        "mome": partial(decoding.decode, subject.model, *given, fill=subject.fill),
        "peers": partial(as_peers, subject, case, scale),
        "loop": partial(decoding.decode, subject.loop, *given, fill=subject.fill),
        "llm": partial(llm_alone, subject.llm, prompt_BND, num_tokens - 1, case.num_beams),
        "encoders": partial(encode, subject.encoders, case.media),
        "peers' encoders": partial(encode_as_peers, subject.encoders, case.media),
    }
    return calls, num_tokens


# ---- measuring -----------------------------------------------------------------------------------


def measure(subject: Subject, case: Case, scale: Scale, seconds: float, device: str) -> list[dict]:
    """A row of figures for each system."""
    calls, num_tokens = calls_of(subject, case, scale)
    texts = {name: calls[name]() for name in ("mome", "peers", "loop")}
    spent = rounds(calls, seconds / len(calls), device, least=3)
    both = {
        "mome": [sum(pair) for pair in zip(spent["mome"], spent["encoders"], strict=True)],
        "peers": [sum(pair) for pair in zip(spent["peers"], spent["peers' encoders"], strict=True)],
    }
    common = {
        "bench": "decode",
        "beams": case.num_beams,
        "clips": len(case.media),
        "clip_s": case.clip_s,
        "scale": str(scale),
        "tokens": num_tokens,
        "rounds": len(spent["mome"]),
        "encode_s": statistics.median(spent["encoders"]),
        "peers_encode_s": statistics.median(spent["peers' encoders"]),
        "whole_ratio": ratio(both, "peers", "mome"),
    }
    return [
        common
        | {
            "system": name,
            "decode_s": statistics.median(spent[name]),
            "mome_ratio": ratio(spent, name, "mome"),
            "llm_ratio": ratio(spent, name, "llm"),
            "same_text": texts[name] == texts["mome"] if name in texts else None,
        }
        for name in SYSTEMS
    ]


HEAD = (
    "| beams | clips | of s | tokens | mome, s a clip | peers / mome | whole | loop / mome"
    " | mome / llm | texts |\n|" + "---|" * 10
)


def line(rows: list[dict]) -> str:
    """A case as a line of the table: medians, and quartiles of what has a goal."""
    own, peers, loop, _ = rows
    low, middle, high = own["llm_ratio"]
    least, usual, most = peers["mome_ratio"]
    same = [row["system"] for row in (peers, loop) if not row["same_text"]]
    cells = [
        str(own["beams"]),
        str(own["clips"]),
        f"{own['clip_s']:.1f}",
        str(own["tokens"]),
        f"{own['decode_s'] / own['clips']:.3g}",
        f"{usual:.2f} ({least:.2f}-{most:.2f})",
        f"{own['whole_ratio'][1]:.2f}",
        f"{loop['mome_ratio'][1]:.2f}",
        f"{middle:.2f} ({low:.2f}-{high:.2f})",
        f"other: {', '.join(same)}" if same else "same",
    ]
    return f"| {' | '.join(cells)} |"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--shape", choices=list(RECIPES), default="small", help="of the LLM")
    add("--exp", type=Path, help="instead of --shape: a trained experiment")
    add("--clips", type=Path, nargs="+", help="for --exp: files, the first ones of which are read")
    add("--beams", type=int, nargs="+", default=[1, 15])
    add("--lengths", type=float, nargs="+", default=[2, 5, 10, 23], help="of clips, in seconds")
    add("--batches", type=int, nargs="+", default=[1, 8], help="numbers of clips")
    add("--scale", default="a4_v2")
    add("--quick", action="store_true", help="one case alone: 15 beams, one clip of 10 s")
    args = device_and_dtype(parser)
    if bool(args.exp) != bool(args.clips):
        parser.error("--exp and --clips need each other")
    if args.quick:
        args.beams, args.lengths, args.batches = [15], [10.0], [1]
    return args


def cases(args: argparse.Namespace, subject: Subject) -> list[Case]:
    """All combinations of beams, lengths and numbers of clips."""
    device, found = torch.device(args.device), []
    if args.exp:
        media = media_of(args.clips, subject, args.exp, args.device)
        groups = [media[:number] for number in args.batches]
        batches = [encode(subject.encoders, group) for group in groups]
    else:
        dims = {stream: encoder.dim for stream, encoder in subject.encoders.items()}
        sizes = itertools.product(args.lengths, args.batches)
        groups = [clips(number, seconds) for seconds, number in sizes]
        batches = [batch_of(group, dims, 100) for group in groups]
    for num_beams in args.beams:
        for group, batch in zip(groups, batches, strict=True):
            found.append(Case(group, to_device(batch, device), num_beams))
    return found


def main() -> None:
    args = parse()
    if args.exp:
        subject, name = trained(args.exp, args.device), args.exp.name
    else:
        subject, name = untrained(args.shape, args.device, args.dtype), args.shape
    dtype, scale = subject.llm.dtype, Scale.parse(args.scale)
    common = environment(args.device, dtype) | {"shape": name}
    print(f"{name}, {scale}, {common['device']}, {common['dtype']}, {common['threads']} threads")
    print(HEAD)
    same = True
    for case in cases(args, subject):
        rows = measure(subject, case, scale, args.seconds, args.device)
        same &= all(row["same_text"] is not False for row in rows)
        append(args.json, [common | row for row in rows])
        print(line(rows), flush=True)
    print("\nGoals at 15 beams and 10 s: " + ", ".join(f"{k} {v}" for k, v in GOALS.items()))
    if not same and dtype == torch.float32:
        sys.exit("in float32 the texts must be the same")


if __name__ == "__main__":
    main()

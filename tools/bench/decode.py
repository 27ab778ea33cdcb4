#!/usr/bin/env python
"""What beam search costs: python tools/bench/decode.py --shape 1b --json FILE

Decodes a clip of 10 s with 15 beams (MoME A.3), alone, with random weights: as mome.decoding does,
which reads the prompt once and then repeats it over the beams, and as transformers' `generate` does
when it is given the prompt, which it repeats over the beams first. Both must find the same text; in
bfloat16 their rounding differs, and so may the text, which is then only reported.
"""

import argparse
import statistics
import sys
from typing import Any
from unittest import mock

import torch
from adapters import ratio, rounds
from train import (
    RECIPES,
    append,
    batch_of,
    clips,
    device_and_dtype,
    environment,
    random_llm,
    settings,
)

from mome import decoding
from mome.compression import Scale
from mome.config import DecodeConfig
from mome.data.dataset import to_device
from mome.model import MoMEModel
from mome.scoring.scale_cost import Words

CLIP_S = 10.0
DIMS = {"audio": 768, "video": 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shape", choices=list(RECIPES), default="small", help="of the LLM")
    parser.add_argument("--beams", type=int, default=15)
    parser.add_argument("--scale", default="a4_v2")
    args = device_and_dtype(parser)
    llm = random_llm(args.shape, args.device, args.dtype)
    model: Any = MoMEModel(settings(args.shape, "MoME").model, llm, Words(), DIMS)
    model = model.to(args.device, args.dtype).eval()
    batch = batch_of(clips(1, CLIP_S), DIMS, llm.config.vocab_size)
    batch = to_device(batch, torch.device(args.device))
    search = DecodeConfig(num_beams=args.beams)

    def ours() -> list[str]:
        return decoding.decode(model, Words(), batch, Scale.parse(args.scale), search)

    def generate() -> list[str]:
        with mock.patch.object(decoding, "prompt_cache", return_value=None):
            return ours()

    same = ours() == generate()
    spent = rounds({"mome": ours, "generate": generate}, args.seconds, args.device)
    rows: list[dict[str, Any]] = []
    print(f"{args.shape}, a clip of {CLIP_S:.0f} s, {args.beams} beams, {args.scale}, {args.dtype}")
    print("| system | s/clip | time, mome = 1 |\n|---|---|---|")
    for name in spent:
        quartiles = ratio(spent, name, "mome")
        row = {
            "bench": "decode",
            "shape": args.shape,
            "system": name,
            "clip_s": statistics.median(spent[name]),
            "mome_ratio": quartiles,
            "same_text": same,
            "beams": args.beams,
            "scale": args.scale,
            "new_tokens": decoding.limit(CLIP_S, search),
        }
        rows.append(environment(args.device, args.dtype) | row)
        print(f"| {name} | {row['clip_s']:.2f} | {quartiles[1]:.2f} |")
    print(f"\nthe texts are {'the same' if same else 'not the same'}")
    append(args.json, rows)
    if not same and args.dtype == torch.float32:
        sys.exit("in float32 the texts must be the same")


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Clips a second of the frozen encoders: python tools/bench/features.py [--device cuda]

Runs encoders with random weights on random clips of 1 to 6 s, as in LRS: one clip at a time, and in
batches of similar length as stage 2 does, in one process and in turns, so that whatever else the
machine does falls on both. Prints the medians, and the largest difference between the frames of a
clip in a batch and alone, as a share of their norm. Reading and writing are left out.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mome.avhubert import AVHuBERT, AVHuBERTConfig
from mome.bin.pretrain_video import SMALL
from mome.data import SAMPLE_RATE, VIDEO_FPS
from mome.data.batches import encode_batch, similar_lengths
from mome.encoders import AudioEncoder, VideoEncoder, batch_seconds, choose_dtype, fast_dtype

ROUNDS = 3
SHORTEST_S, LONGEST_S = 1.0, 6.0


def whisper(device: str, dim: int, layers: int, heads: int) -> AudioEncoder:
    """An encoder of Whisper of this shape."""
    config = WhisperConfig(
        d_model=dim, encoder_layers=layers, encoder_attention_heads=heads, encoder_ffn_dim=4 * dim
    )
    network = WhisperEncoder(config).eval()
    encoder = AudioEncoder(network, WhisperFeatureExtractor(), "random", False)
    encoder.whisper.to(fast_dtype(device))
    return encoder.to(device)


def avhubert(device: str, **shape) -> VideoEncoder:
    """An AV-HuBERT of this shape."""
    return VideoEncoder(AVHuBERT(AVHuBERTConfig(**shape)), "random").to(device)


ENCODERS: dict[str, Callable] = {
    "whisper-tiny": partial(whisper, dim=384, layers=4, heads=6),
    "whisper-medium": partial(whisper, dim=1024, layers=24, heads=16),
    "avhubert-mini": partial(avhubert, **SMALL),
    "avhubert-base": partial(avhubert, dim=768, ffn_dim=3072, num_layers=12, num_heads=12),
    "avhubert-large": avhubert,
}


def draw_clips(kind: str, num: int) -> dict[str, np.ndarray]:
    """Random clips by name, sounds or mouths; lengths are whole frames of 40 ms."""
    rng = np.random.default_rng(0)
    clips: dict[str, np.ndarray] = {}
    for k in range(num):
        images = int(rng.integers(round(SHORTEST_S * VIDEO_FPS), round(LONGEST_S * VIDEO_FPS) + 1))
        if kind == "whisper":
            samples = rng.standard_normal(images * SAMPLE_RATE // VIDEO_FPS)
            clips[str(k)] = 0.1 * samples.astype(np.float32)
        else:
            clips[str(k)] = rng.integers(0, 256, (images, 96, 96), dtype=np.uint8)
    return clips


def run(encoder, clips: dict[str, np.ndarray], batches: list[list[str]]) -> dict[str, np.ndarray]:
    """The frames of each clip, on the CPU."""
    return {
        name: frames
        for batch in batches
        for name, frames in encode_batch(encoder, batch, [clips[name] for name in batch])
    }


def measure(name: str, device: str, seconds: float, most_clips: int) -> dict:
    """Run an encoder both ways, in turns, for about so many seconds; what was found."""
    torch.manual_seed(0)
    kind = name.partition("-")[0]
    encoder = ENCODERS[name](device)
    clips = draw_clips(kind, most_clips)
    alone = [[clip] for clip in clips]
    run(encoder, clips, alone[:2])  # warm up
    start = time.perf_counter()
    run(encoder, clips, alone[2:6])
    one = (time.perf_counter() - start) / 4
    num_clips = max(8, min(most_clips, int(seconds / (2 * ROUNDS * one))))
    clips = dict(list(clips.items())[:num_clips])
    rate = SAMPLE_RATE if kind == "whisper" else VIDEO_FPS
    lengths = {clip: len(x) / rate for clip, x in clips.items()}
    ways = {
        "alone": [[clip] for clip in clips],
        "batches": similar_lengths(lengths, batch_seconds(device)),
    }
    spent: dict[str, list[float]] = {way: [] for way in ways}
    found = {way: run(encoder, clips, batches) for way, batches in ways.items()}  # warm up
    for _ in range(ROUNDS):
        for way, batches in ways.items():
            start = time.perf_counter()
            run(encoder, clips, batches)
            spent[way].append(time.perf_counter() - start)
    apart = max(
        np.linalg.norm(found["batches"][clip] - x) / np.linalg.norm(x)
        for clip, x in found["alone"].items()
    )
    times = {way: statistics.median(values) for way, values in spent.items()}
    ratios = [a / b for a, b in zip(spent["alone"], spent["batches"], strict=True)]
    return {
        "encoder": name,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "dtype": str(fast_dtype(device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "num_clips": num_clips,
        "batch_s": batch_seconds(device),
        "alone_clips_per_s": num_clips / times["alone"],
        "batches_clips_per_s": num_clips / times["batches"],
        "ratio": statistics.median(ratios),
        "media_s_per_s": sum(lengths.values()) / times["batches"],
        "difference": float(apart),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each encoder, about")
    parser.add_argument("--clips", type=int, default=512, help="for each encoder, at most")
    parser.add_argument("--json", type=Path, help="file to which a line for each encoder is added")
    args = parser.parse_args(argv)
    dtype, reason = choose_dtype(torch.device(args.device).type)
    print(f"{args.device}, {torch.get_num_threads()} threads, {dtype}: {reason}")
    print("| clips/s | one at a time | in batches | ratio | times real time | difference |")
    print("|---|---|---|---|---|---|")
    for name in args.encoders:
        result = measure(name, args.device, args.seconds, args.clips)
        print(
            "| {encoder} | {alone_clips_per_s:.1f} | {batches_clips_per_s:.1f} | {ratio:.2f} |"
            " {media_s_per_s:.0f} | {difference:.1e} |".format(**result),
            flush=True,
        )
        if args.json:
            with args.json.open("a") as file:
                file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""What a training step costs: python tools/bench/train.py --shape 1b --json FILE

Trains on 5 s clips, at all scales of the paper, with an LLM of the shape of Llama-3.2-1B or -3B and
random weights; nothing is downloaded. All systems run in one process and share the LLM's weights.
They take turns, so whatever else the machine does falls on all of them; ratios are medians.

    floor           the frozen LLM alone: forward and backward pass over the same tokens
    MoME, LoRA      the training step of mome.bin.train, with DeepSpeed, from frames on
    MoME, online    the same, with the encoders in the loop (encoders.features=online)
    usual           as published systems do it: a loop over experts, the encoders in the loop,
                    Whisper's input padded to 30 s, each stream padded to the longest of the batch
                    inside the sequence

Model FLOPs are those of the floor on tokens that are not padding, counted by PyTorch; utilisation
is their rate divided by that of a large matrix product on the same device, measured here and not
taken from a data sheet. Memory on a CPU is the growth of the process, which is less exact.
"""

import argparse
import copy
import json
import os
import socket
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from adapters import Loop, ratio, rounds, wait_for
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mome import config
from mome.avhubert import AVHuBERT, AVHuBERTConfig
from mome.config import Config
from mome.data import AUDIO_FPS, SAMPLE_RATE, VIDEO_FPS
from mome.data.dataset import to_device
from mome.encoders import AudioEncoder, VideoEncoder, choose_dtype
from mome.inject import adapters
from mome.model import MoMEModel
from mome.scoring.cost import shapes_of
from mome.scoring.scale_cost import Words

ROOT = Path(__file__).resolve().parents[2]
ZERO = ROOT / "egs/TEMPLATE/avsr1/conf/deepspeed_zero0.json"
RECIPES = {"small": "lrs3", "1b": "lrs3", "3b": "lrs2", "135m": "mini"}  # the LLM of each corpus
CONFIGS = {"MoME": "train_mome_layer.yaml", "LoRA": "train_mtsk_ms.yaml"}
CLIP_S = 5.0
TEXT_PER_S = 4.0  # tokens: three words a second, four tokens for three words
SMALL_VIDEO: dict[str, Any] = {
    "dim": 32,
    "ffn_dim": 64,
    "num_layers": 2,
    "num_heads": 4,
    "position_groups": 4,
}
SMALL_VIDEO |= {"frontend_dim": 8, "resnet_dims": (8, 8), "resnet_blocks": (1, 1), "audio_dim": 0}


# ---- models of the right shapes ------------------------------------------------------------------


def settings(shape: str, name: str) -> Config:
    """The configuration of a system in the recipe whose LLM has this shape."""
    path = ROOT / f"egs/{RECIPES[shape]}/avsr1/conf" / CONFIGS[name]
    small = ["model.projector_dim=64"] if shape == "small" else []
    return config.load(path, [f"train.deepspeed={ZERO}", *small])


def random_llm(shape: str, device: str, dtype: torch.dtype, layers: int | None = None) -> Any:
    """A frozen LLM with random weights, made on the device itself."""
    llm_config = shapes_of(settings(shape, "MoME").model.llm)
    if shape == "small":
        llm_config = LlamaConfig(
            vocab_size=500,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    llm_config.num_hidden_layers = layers or llm_config.num_hidden_layers
    torch.manual_seed(0)
    with torch.device(device):
        llm: Any = AutoModelForCausalLM.from_config(
            llm_config, dtype=dtype, attn_implementation=settings(shape, "MoME").model.attention
        )
    return llm.eval().requires_grad_(False)


def sharing(llm: Any) -> Any:
    """Another LLM with the same weights in memory, to attach other adapters to."""
    return copy.deepcopy(llm, {id(p): p for p in llm.parameters()})


def random_encoders(shape: str, device: str, pad: bool, video: VideoEncoder | None = None):
    """Whisper-small and AV-HuBERT Large with random weights; small ones for a small LLM."""
    sizes: dict[str, Any] = {"d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12,
             "encoder_ffn_dim": 3072}  # fmt: skip
    if shape == "small":
        sizes = dict.fromkeys(sizes, 2) | {"d_model": 32, "encoder_ffn_dim": 64}
    with torch.device(device):
        whisper = WhisperEncoder(WhisperConfig(**sizes)).eval()
        large = AVHuBERTConfig(**(SMALL_VIDEO if shape == "small" else {}))
        video = video or VideoEncoder(AVHuBERT(large), "random")
    audio = AudioEncoder(whisper, WhisperFeatureExtractor(), "random", pad)
    audio.whisper.to(choose_dtype(torch.device(device).type)[0])
    return {"audio": audio.to(device), "video": video.to(device)}


# ---- what the systems read -----------------------------------------------------------------------


def clips(number: int, seconds: float = CLIP_S) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sound and mouth of clips, whose lengths differ by a tenth, as in a batch."""
    rng, found = np.random.default_rng(0), []
    for factor in np.linspace(0.9, 1.1, number) if number > 1 else [1.0]:
        images = round(seconds * factor * VIDEO_FPS)
        sound = rng.standard_normal(images * SAMPLE_RATE // VIDEO_FPS).astype(np.float32)
        found.append((sound, rng.integers(0, 255, (images, 96, 96), dtype=np.uint8)))
    return found


def batch_of(media: list, dims: dict[str, int], vocabulary: int) -> dict:
    """Random frames and text of the clips, as MoMEModel.forward takes them."""
    images = torch.tensor([len(mouth) for _, mouth in media])
    text = (images / VIDEO_FPS * TEXT_PER_S).round().long()
    audio = images * (AUDIO_FPS // VIDEO_FPS)
    size, longest = len(media), int(images.max())
    return {
        "audio": torch.randn(size, int(audio.max()), dims["audio"]),
        "audio_lengths": audio,
        "video": torch.randn(size, longest, dims["video"]),
        "video_lengths": images,
        "text": torch.randint(3, vocabulary, (size, int(text.max()))),
        "text_lengths": text,
    }


def encoded(batch: dict, media: list, encoders: dict[str, Any]) -> dict:
    """The batch with frames that the encoders make now."""
    frames = {"audio": encoders["audio"]([sound for sound, _ in media])}
    frames["video"] = encoders["video"]([mouth for _, mouth in media])
    return batch | {s: torch.nn.utils.rnn.pad_sequence(x, True) for s, x in frames.items()}


def padded_inside(batch: dict) -> dict:
    """The batch with its padding as if it were frames."""
    longest = {
        f"{s}_lengths": torch.full_like(batch[f"{s}_lengths"], batch[s].shape[1])
        for s in ("audio", "video")
    }
    return batch | longest


# ---- the systems ---------------------------------------------------------------------------------


def connect(device: str) -> None:
    """A training run of one process, as DeepSpeed's launcher would start it."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    places = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ |= places | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    if torch.device(device).type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    from mome.training import distributed

    distributed.connect()


def build(llm: Any, cfg: Config, dims: dict[str, int], device: str, dtype: torch.dtype) -> Any:
    """DeepSpeed's engine around a model, as mome.bin.train builds it."""
    from mome.training import distributed, engine_settings

    torch.manual_seed(0)
    model = MoMEModel(cfg.model, sharing(llm), Words(), dims).to(device)
    bf16 = dtype == torch.bfloat16
    settings = engine_settings.build(cfg, Path(cfg.train.deepspeed), bf16)
    engine = distributed.start_engine(model, cfg, settings)
    engine.train()
    return engine


def step(engine: Any, batch: dict) -> None:
    """One step of mome.bin.train on one batch."""
    loss, _, _ = engine(**batch)
    engine.backward(loss)
    engine.step()


def step_online(
    engine: Any, batch: dict, media: list, encoders: dict[str, Any], inside: bool = False
) -> None:
    """One step on frames that the encoders make now, with padding inside the sequence or not."""
    batch = encoded(batch, media, encoders)
    step(engine, padded_inside(batch) if inside else batch)


def floor(llm: Any, model: MoMEModel, batch: dict) -> tuple[Callable[[], None], int, float]:
    """The frozen LLM over the tokens of a step; also their number and their share of all tokens."""
    seen: list[Any] = []
    hooks = [
        model.llm.model.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(kwargs["inputs_embeds"].detach()), with_kwargs=True
        ),
        model.llm.lm_head.register_forward_pre_hook(lambda _, args: seen.append(len(args[0]))),
    ]
    stats = model(**batch)[1]
    for hook in hooks:
        hook.remove()
    inputs, rows = seen[::2], seen[1::2]
    targets = torch.randint(0, llm.config.vocab_size, (max(rows),), device=inputs[0].device)

    def call() -> None:
        losses = []
        for x_BND, count in zip(inputs, rows, strict=True):
            x_BND.requires_grad_().grad = None
            hidden = llm.model(inputs_embeds=x_BND, use_cache=False).last_hidden_state
            logits = llm.lm_head(hidden.flatten(0, 1)[-count:]).float()
            losses.append(F.cross_entropy(logits, targets[:count]))
        torch.stack(losses).mean().backward()

    tokens = int(stats["llm_tokens"])
    return call, tokens, tokens / sum(x.shape[0] * x.shape[1] for x in inputs)


def systems(args: argparse.Namespace, llm: Any, media: list) -> tuple[dict, dict, int, float]:
    """A call for each system; the memory that it holds; tokens of a step, their share of all."""
    device = args.device
    calls: dict[str, Callable[[], None]] = {}
    held: dict[str, int] = {}
    before = memory(device)
    encoders = random_encoders(args.shape, device, pad=False)
    usual = random_encoders(args.shape, device, pad=True, video=encoders["video"])
    both = memory(device) - before
    dims = {stream: encoder.dim for stream, encoder in encoders.items()}
    batch = to_device(batch_of(media, dims, llm.config.vocab_size), torch.device(device))
    for name, kind in (("MoME", "MoME"), ("LoRA", "LoRA"), ("usual", "MoME")):
        before = memory(device)
        engine = build(llm, settings(args.shape, kind), dims, device, args.dtype)
        calls[name] = partial(step, engine, batch)
        if name == "usual":
            for adapter in adapters(engine.module.llm):
                adapter.__class__ = Loop
            calls[name] = partial(step_online, engine, batch, media, usual, inside=True)
        elif name == "MoME":
            alone, tokens, share = floor(llm, engine.module, batch)
            calls["MoME, online"] = partial(step_online, engine, batch, media, encoders)
        calls[name]()  # the optimiser makes its state
        held[name] = memory(device) - before
    calls = {"floor": alone} | calls
    held |= {"floor": 0, "MoME, online": held["MoME"] + both, "usual": held["usual"] + both}
    return calls, held, tokens, share


# ---- measuring -----------------------------------------------------------------------------------


def memory(device: str, field: str = "VmRSS") -> int:
    """Bytes that are in use: of the GPU's tensors, or of this process on a CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.memory_allocated(device)
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def peak_of(call: Callable[[], None], device: str) -> int:
    """The most bytes that a call has in use beyond those before it."""
    before = memory(device)
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        call()
        wait_for(device)
        return torch.cuda.max_memory_allocated(device) - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is in use now
    call()
    return max(0, memory(device, "VmHWM") - before)


def peak_flops(device: str, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product, the best of several."""
    size = 8192 if torch.device(device).type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    shortest = float("inf")
    for _ in range(10):
        wait_for(device)
        start = time.perf_counter()
        for _ in range(4):
            a @ b
        wait_for(device)
        shortest = min(shortest, (time.perf_counter() - start) / 4)
    return 2 * size**3 / shortest


def environment(device: str, dtype: torch.dtype) -> dict[str, Any]:
    """What a figure was measured on, for its line of JSON."""
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def append(path: Path | None, rows: list[dict[str, Any]]) -> None:
    """Add lines of JSON to a file, if one is asked for."""
    if path:
        with path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def device_and_dtype(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, with those that all benches have added; `dtype` is that of the LLM."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float32"], default="auto")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each system, at least")
    parser.add_argument("--json", type=Path, help="file to add a line to for each row")
    args = parser.parse_args()
    chosen = choose_dtype(torch.device(args.device).type)[0]
    args.dtype = chosen if args.dtype == "auto" else getattr(torch, args.dtype)
    return args


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--shape", choices=["small", "1b", "3b"], default="small", help="of the LLM"
    )
    parser.add_argument("--clips", type=int, help="in a batch; default: 12 (60 s), 4 for small")
    parser.add_argument("--layers", type=int, help="of the LLM, when a CPU is too slow for all")
    args = device_and_dtype(parser)
    connect(args.device)
    start = memory(args.device)
    llm = random_llm(args.shape, args.device, args.dtype, args.layers)
    weights = memory(args.device) - start
    media = clips(args.clips or (4 if args.shape == "small" else 12))
    calls, held, tokens, share = systems(args, llm, media)
    with FlopCounterMode(display=False) as counter:
        calls["floor"]()
    flops, best = counter.get_total_flops() * share, peak_flops(args.device, args.dtype)
    peaks = {name: peak_of(call, args.device) for name, call in calls.items()}
    spent = rounds(calls, args.seconds, args.device)
    common = environment(args.device, args.dtype) | {
        "bench": "train",
        "shape": args.shape,
        "layers": llm.config.num_hidden_layers,
    }
    rows: list[dict[str, Any]] = []
    print(f"{args.shape}, {len(media)} clips of {CLIP_S:.0f} s, {tokens} tokens a step,"
          f" {common['device']}, {common['dtype']}; a large matrix product runs at"
          f" {best / 1e12:.3g} TFLOP/s")  # fmt: skip
    print("| system | step, ms | LLM tokens/s | time, floor = 1 | MFU | peak memory, GB |")
    print("|---|---|---|---|---|---|")
    for name in calls:
        seconds, quartiles = statistics.median(spent[name]), ratio(spent, name, "floor")
        row = {
            "system": name,
            "step_s": seconds,
            "tokens_per_s": tokens / seconds,
            "floor_ratio": quartiles,
            "mfu": flops / seconds / best,
            "peak_bytes": weights + held[name] + peaks[name],
            "media_s": sum(len(mouth) for _, mouth in media) / VIDEO_FPS,
            "flops": flops,
            "peak_flops": best,
        }
        rows.append(common | row)
        print(f"| {name} | {1e3 * seconds:.1f} | {row['tokens_per_s']:.0f} | {quartiles[1]:.2f}"
              f" | {100 * row['mfu']:.0f} % | {row['peak_bytes'] / 1e9:.2f} |")  # fmt: skip
    print(f"\nusual / MoME: {ratio(spent, 'usual', 'MoME')[1]:.2f} (goal 4);"
          f" MoME / floor: {ratio(spent, 'MoME', 'floor')[1]:.2f} (goal 1.10)")  # fmt: skip
    append(args.json, rows)


if __name__ == "__main__":
    main()

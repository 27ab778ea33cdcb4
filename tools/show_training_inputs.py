#!/usr/bin/env python
"""Draw what a training step reads: sound with masks and noise, mouths cropped, mirrored and masked.

python tools/show_training_inputs.py --config conf/train_mome_layer.yaml --out step.png
    --data data/train --mouths dump/mouths/train

The clips are the first ones of the first step of a run with encoders.features=online. No model is
needed. `--take_step` also takes a step on them, on a CPU, with random weights: encoders of the true
shapes (Whisper-small, AV-HuBERT Large) and a small LLM.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from transformers import LlamaConfig, LlamaForCausalLM, WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mome import config
from mome.avhubert import AVHuBERT, AVHuBERTConfig
from mome.config import Config
from mome.data import SAMPLE_RATE, VIDEO_FPS, crops
from mome.data.dataset import FeatureDataset, Pick, Sampler
from mome.data.features import Online
from mome.data.noise import power, waveform
from mome.encoders import AudioEncoder, VideoEncoder, fast_dtype
from mome.model import STREAMS, MoMEModel
from mome.scoring.plots import COLOURS
from mome.training.schedule import Schedule

NUM_IMAGES = 16  # of a clip


class Words:
    """The part of a tokenizer that is used here: an id for each word."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
        ids = [3 + sum(map(ord, word)) % 497 for word in text.split()]
        return type("Encoding", (), {"input_ids": ids})


class NoEncoder:
    """Stands for an encoder that is not run."""

    name, dim, sha256 = "none", 0, ""


def random_encoders(cfg: Config) -> dict[str, Any]:
    """Whisper-small and AV-HuBERT Large with random weights."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12,
             "encoder_ffn_dim": 3072}  # fmt: skip
    whisper = WhisperEncoder(WhisperConfig(**sizes)).eval()
    pad = cfg.encoders.pad_to_30s
    audio = AudioEncoder(whisper, WhisperFeatureExtractor(), "random", pad)
    audio.whisper.to(fast_dtype("cpu"))
    return {"audio": audio, "video": VideoEncoder(AVHuBERT(AVHuBERTConfig()).eval(), "random")}


def first_step(cfg: Config, data: FeatureDataset, num_clips: int) -> list[Pick]:
    """The first utterances of a run on one device; prints how long the run would be."""
    sampler = Sampler(
        lengths=[data.length(i) for i in range(len(data))],
        max_frames=cfg.train.max_frames,
        seed=cfg.train.seed,
        accumulation=cfg.train.accumulation,
        num_noisy=data.source.num_noisy,
        noisy_share=cfg.train.noisy_share,
    )
    print(f"{Schedule.of(cfg.train, sampler).describe()}; {sampler.describe()}")
    picks, _ = next(sampler.steps())[0]
    return picks[:num_clips]


def draw(source: Online, chosen: list[tuple[str, Pick]], path: Path) -> None:
    """A figure of clips: the sound, images as they are on disk, and as the encoder reads them."""
    figure, rows = plt.subplots(
        3 * len(chosen), 1, figsize=(11, 3.6 * len(chosen)), layout="constrained",
        height_ratios=[1.3, 1, 1] * len(chosen),
    )  # fmt: skip
    for k, (utterance, pick) in enumerate(chosen):
        sound_axes, before_axes, after_axes = rows[3 * k : 3 * k + 3]
        draw_sound(sound_axes, source, utterance, pick)
        mouth, drawn = crops.read(source.scps["video"][utterance]), source.mouth(utterance, pick)
        shown = np.linspace(0, len(mouth) - 1, NUM_IMAGES).round().astype(int)
        titles = "on disk, 96 x 96", f"read by the encoder, {drawn.shape[1]} x {drawn.shape[2]}"
        for axes, images, title in zip(
            (before_axes, after_axes), (mouth, drawn), titles, strict=True
        ):
            strip = np.concatenate([np.pad(images[i], 2, constant_values=255) for i in shown], 1)
            axes.imshow(strip, cmap="gray", vmin=0, vmax=255, aspect="equal")
            axes.set_title(f"images {title}, every {len(mouth) / NUM_IMAGES / VIDEO_FPS:.2f} s",
                           fontsize=8, loc="left")  # fmt: skip
            axes.axis("off")
        black = sum(not image.any() for image in drawn)
        print(f"{utterance}: {len(mouth)} images, {black} of them masked")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_sound(axes: Any, source: Online, utterance: str, pick: Pick) -> None:
    """The sound as it is read, the speech in it, and its masks."""
    speech = waveform(source.scps["audio"][utterance])
    masked = source.sound(utterance, replace(pick, copy=0))  # the masks are drawn before the noise
    heard = source.sound(utterance, pick)
    seconds = np.arange(len(speech)) / SAMPLE_RATE
    noise = "clean"
    if pick.copy:
        snr = 10 * np.log10(power(masked) / power(heard - masked))
        noise = f"in noise at {round(float(snr))} dB"
        axes.plot(seconds, heard, color=COLOURS[1], linewidth=0.4, label="read by the encoder")
    axes.plot(seconds, masked, color=COLOURS[0], linewidth=0.4, label="speech in it")
    edges = np.flatnonzero(np.diff((masked != speech).astype(int), prepend=0, append=0))
    spans = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 1]
    merged = merge_spans(spans)
    for start, end in merged:
        axes.axvspan(start / SAMPLE_RATE, end / SAMPLE_RATE, color="0.85", zorder=0)
    masks = ", ".join(f"{a / SAMPLE_RATE:.2f}-{b / SAMPLE_RATE:.2f} s" for a, b in merged)
    axes.set_title(f"{utterance}, {noise}; masked (grey): {masks or 'nothing'}",
                   fontsize=9, loc="left")  # fmt: skip
    axes.set(xlim=(0, seconds[-1]), xlabel="time (s)", ylabel="amplitude")
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False, borderpad=0
    )
    axes.spines[["top", "right"]].set_visible(False)
    print(f"{utterance}: {noise}, masked {masks or 'nothing'}")


def merge_spans(spans: list[tuple[int, int]], gap: int = SAMPLE_RATE // 100) -> list[list[int]]:
    """Spans of samples; those less than `gap` apart are joined, since speech has zeros too."""
    merged: list[list[int]] = []
    for start, end in spans:
        if merged and start - merged[-1][1] < gap:
            merged[-1][1] = end
        else:
            merged.append([start, end])
    return merged


def take_step(cfg: Config, data: FeatureDataset, picks: list[Pick]) -> None:
    """One step of training on the clips, at every scale, with a small LLM of random weights."""
    torch.manual_seed(0)
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=500, hidden_size=256, intermediate_size=512, num_hidden_layers=4,
            num_attention_heads=8, num_key_value_heads=4,
        )
    )  # fmt: skip
    model = MoMEModel(cfg.model, llm, Words(), data.source.frame_dims).train()
    optimizer = torch.optim.AdamW(
        model.trained().values(), cfg.train.lr, weight_decay=cfg.train.weight_decay
    )
    start = time.monotonic()
    batch = data.collate(picks)
    encoded_s = time.monotonic() - start
    for stream in data.streams:
        print(
            f"{stream}: frames {tuple(batch[stream].shape)}, {batch[stream + '_lengths'].tolist()}"
        )
    loss, stats, num_tokens = model(**batch)
    loss.backward()
    optimizer.step()
    later = model(**batch)[0].item()
    print(
        f"{len(picks)} clips, {int(num_tokens)} text tokens; encoders {encoded_s:.1f} s; loss"
        f" {loss.item():.3f} before the step and {later:.3f} after it; "
        + ", ".join(f"{k} {v.item():.3f}" for k, v in stats.items() if k.startswith("loss_"))
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="train config, such as conf/train_x.yaml")
    parser.add_argument("--data", type=Path, required=True, help="data directory of a set")
    parser.add_argument("--mouths", type=Path, required=True, help="mouth crops of the set")
    parser.add_argument("--out", type=Path, required=True, help="the picture, a PNG file")
    parser.add_argument("--clips", type=int, default=3, help="clips of the step to draw")
    parser.add_argument("--take_step", action="store_true", help="take the step on these clips")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    args = parser.parse_args()
    cfg = config.load(args.config, [*args.overrides, "encoders.features=online"])
    streams = STREAMS[cfg.model.task]
    ready: dict[str, Any] = random_encoders(cfg) if args.take_step else {}
    source = Online(
        args.data,
        args.mouths,
        streams,
        cfg.encoders,
        ready=ready or dict.fromkeys(streams, NoEncoder()),
    )
    data = FeatureDataset(source, lambda text: Words()(text).input_ids)
    picks = first_step(cfg, data, args.clips)
    draw(source, [(data.utterances[pick.index], pick) for pick in picks], args.out)
    if args.take_step:
        take_step(cfg, data, picks)


if __name__ == "__main__":
    main()

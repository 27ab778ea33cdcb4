"""Figures: training curves, error rates by scale and noise, and a clip as the model gets it."""

import re
from pathlib import Path

import matplotlib
import numpy as np
from transformers import WhisperFeatureExtractor

from mome.compression import Scale, num_tokens
from mome.encoders import FRAME, SAMPLE_RATE

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Okabe and Ito's colours, which colour-blind readers tell apart too.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]


def training_curves(metrics: list[dict], path: Path, floor: float | None = None) -> None:
    """Training and validation loss over steps, from the lines of metrics.jsonl."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    # Without CTC and balance loss, as in validation; an older metrics.jsonl has no such number.
    train = [(m["step"], m.get("cross_entropy", m["loss"])) for m in metrics if "loss" in m]
    if train:
        steps, losses = zip(*train, strict=True)
        axes.plot(steps, losses, color="0.8", linewidth=0.8)
        axes.plot(steps, smooth(losses), color=COLOURS[0], label="training (smoothed)")
    names = sorted({k for m in metrics for k in m if k.startswith("valid_loss_")})
    for name, colour in zip(names, COLOURS[1:], strict=False):
        points = [(m["step"], m[name]) for m in metrics if name in m]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=f"validation {name[11:]}")
    if floor is not None:
        axes.axhline(floor, color="black", linestyle=":", label="text alone")
    axes.set(xlabel="optimiser step", ylabel="loss (nats a token)", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def smooth(values: tuple[float, ...], share: float = 0.05) -> np.ndarray:
    """Mean over a window of `share` of the curve, around each point; narrower at the ends."""
    half = max(1, round(share * len(values) / 2))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def error_by_scale(rates: dict[str, dict[str, float]], path: Path) -> None:
    """Word error rate of each test set at each scale: {set: {scale: per cent}}.

    A set without its own video has the colour of the set with it, and broken lines.
    """
    scales = list(dict.fromkeys(s for row in rates.values() for s in row))
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    sets = list(dict.fromkeys(re.sub(r"_(zeroed|other)_video$", "", name) for name in rates))
    for name, row in rates.items():
        found = re.fullmatch(r"(.*?)(?:_(zeroed|other)_video)?", name)
        k = sets.index(found[1])
        points = [(scales.index(s), rate) for s, rate in row.items()]
        axes.plot(
            *zip(*sorted(points), strict=True),
            marker="os^Dv<>"[k % 7],
            color=COLOURS[k % len(COLOURS)],
            linestyle={None: "-", "zeroed": "--", "other": ":"}[found[2]],
            alpha=1.0 if found[2] is None else 0.6,
            label=name.replace("_", " "),
        )
    axes.set_xticks(range(len(scales)), scales)
    axes.set(xlabel="scale (frames per token)", ylabel="word error rate (%)", ylim=(0, None))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def clip(
    frames: np.ndarray,
    mouths: np.ndarray,
    samples: np.ndarray,
    scales: list[Scale],
    title: str,
    path: Path,
) -> None:
    """A clip as the model gets it: faces, mouths, spectrogram, and the tokens of each scale.

    Args:
        frames: (T, H, W, 3) RGB and `mouths` (T, 96, 96) grey, both at 25 a second.
        samples: (S,) at 16 kHz.
        scales: drawn below the spectrogram, a box for each token.
    """
    columns, duration = 8, len(samples) / SAMPLE_RATE
    chosen = np.linspace(0, len(mouths) - 1, columns).round().astype(int)
    streams = [s for s in ("audio", "video") if any(getattr(x, s) for x in scales)]
    figure, rows = plt.subplots(
        3 + len(streams),
        1,
        figsize=(10, 4.9 + 0.3 * len(scales) * len(streams)),
        height_ratios=[1.4, 1.4, 1.7, *[0.3 * len(scales)] * len(streams)],
        layout="constrained",
    )
    for axes, strip in zip(rows, (frames[chosen], mouths[chosen]), strict=False):
        axes.imshow(np.hstack(list(strip)), cmap="gray", vmin=0, vmax=255, aspect="equal")
        axes.set_axis_off()
    rows[0].set_title(title)
    mel = log_mel(samples)
    rows[2].imshow(mel, origin="lower", aspect="auto", cmap="magma", extent=(0, duration, 0, 80))
    rows[2].set(ylabel="mel band", xlim=(0, duration), xticks=[])
    for axes, stream in zip(rows[3:], streams, strict=True):
        count = {"audio": -(-len(samples) // FRAME), "video": len(mouths)}[stream]
        for k, scale in enumerate(scales):
            rate = getattr(scale, stream)
            step = rate * {"audio": 0.02, "video": 0.04}[stream]
            starts = np.arange(num_tokens(count, rate)) * step
            ends = np.minimum(starts + step, count * step / rate)
            boxes = list(zip(starts, ends - starts, strict=True))
            axes.broken_barh(boxes, (-k - 0.4, 0.8), color=COLOURS[k], edgecolor="white")
        axes.set(xlim=(0, duration), xticks=[])
        axes.set_yticks(
            [-k for k in range(len(scales))],
            [f"{stream} {stream[0]}{getattr(s, stream)}" for s in scales],
        )
        axes.tick_params(left=False)
        axes.spines[:].set_visible(False)
    rows[-1].set(xlabel="seconds", xticks=np.arange(0, duration, 0.5))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """(80, 100 a second) log-mel spectrogram, as Whisper hears it."""
    mel = WhisperFeatureExtractor(feature_size=80)
    return mel(samples, sampling_rate=SAMPLE_RATE, padding="do_not_pad").input_features[0]

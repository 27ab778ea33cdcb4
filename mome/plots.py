"""Figures of a report: training curves, and error rates by scale and noise."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Okabe and Ito's colours, which colour-blind readers tell apart too.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]


def training_curves(metrics: list[dict], path: Path, floor: float | None = None) -> None:
    """Training and validation loss over steps, from the lines of metrics.jsonl."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    train = [(m["step"], m["loss"]) for m in metrics if "loss" in m]
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


def smooth(values: tuple[float, ...], share: float = 0.05) -> list[float]:
    """Exponential mean; each value counts with `share`."""
    out: list[float] = []
    for value in values:
        out.append(value if not out else (1 - share) * out[-1] + share * value)
    return out


def error_by_scale(rates: dict[str, dict[str, float]], path: Path) -> None:
    """Word error rate of each test set at each scale: {set: {scale: per cent}}."""
    scales = list(dict.fromkeys(s for row in rates.values() for s in row))
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for k, (name, row) in enumerate(rates.items()):
        points = [(scales.index(s), rate) for s, rate in row.items()]
        axes.plot(
            *zip(*sorted(points), strict=True),
            marker="os^Dv<>"[k % 7],
            color=COLOURS[k % len(COLOURS)],
            label=name,
        )
    axes.set_xticks(range(len(scales)), scales)
    axes.set(xlabel="scale (frames per token)", ylabel="word error rate (%)", ylim=(0, None))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)

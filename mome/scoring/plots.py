"""Figures: training curves, error rates by scale and noise, and a clip as the model gets it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers import WhisperFeatureExtractor

from mome.compression import Scale, num_tokens
from mome.data import AUDIO_FPS, FPS, SAMPLE_RATE
from mome.data.set_name import SetName
from mome.scoring.figure_style import COLOURS, MARKERS, SIZE, legend_below, plt, save, series

LINE_STYLES = {"own": "-", "zeroed": "--", "other": ":"}  # by the video that a model sees
NUM_IMAGES = 8  # of a clip
NUM_MELS = 80


def training_curves(metrics: list[dict], path: Path, floor: float | None = None) -> None:
    """Write `loss_figure`."""
    save(loss_figure(metrics, floor), path, dpi=150)


def loss_figure(metrics: list[dict], floor: float | None = None) -> Figure:
    """Training and validation loss over steps, from the lines of metrics.jsonl.

    A scale has one colour: its training loss is a line, its validation loss has markers.
    `floor`: the loss of a model of the text alone, drawn as a line.
    """
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    # Like the validation loss, cross_entropy has no CTC and no balance loss. Files of older
    # versions lack it.
    train = [(m["step"], m.get("cross_entropy", m["loss"])) for m in metrics if "loss" in m]
    if train:
        steps, losses = zip(*train, strict=True)
        axes.plot(steps, losses, color="0.85", linewidth=0.8)
        axes.plot(steps, smooth(losses), color="black", label="training (smoothed)")
    for k, scale in enumerate(loss_scales(metrics)):
        style = series(k)
        train = [(m["step"], m[f"loss_{scale}"]) for m in metrics if f"loss_{scale}" in m]
        if train:
            steps, losses = zip(*train, strict=True)
            axes.plot(steps, smooth(losses), color=style["color"], linewidth=0.8, alpha=0.8)
        name = f"valid_loss_{scale}"
        points = [(m["step"], m[name]) for m in metrics if name in m]
        if points:
            axes.plot(*zip(*points, strict=True), label=f"{scale} (marker: validation)", **style)
    if floor is not None:
        axes.axhline(floor, color="black", linestyle=":", label="text alone")
    axes.set(xlabel="optimiser step", ylabel="loss (nats a token)", ylim=(0, None))
    legend_below(axes)
    return figure


def loss_scales(metrics: list[dict]) -> list[str]:
    """The scales with a validation loss, in alphabetical order."""
    prefix = "valid_loss_"
    return sorted({k.removeprefix(prefix) for m in metrics for k in m if k.startswith(prefix)})


def smooth(values: tuple[float, ...], share: float = 0.05) -> np.ndarray:
    """Mean over a window around each point, `share` of the curve wide; narrower at the ends."""
    half = max(1, round(share * len(values) / 2))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def error_by_scale(rates: dict[str, dict[str, float]], path: Path) -> None:
    """Write `scale_figure`."""
    save(scale_figure(rates), path, dpi=110)


def scale_figure(rates: dict[str, dict[str, float]]) -> Figure:
    """Word error rate of each test set at each scale: {set: {scale: per cent}}.

    A set that was decoded with another video has the colour of the set with its own, and a broken
    line.
    """
    scales = list(dict.fromkeys(s for row in rates.values() for s in row))
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    set_names = {name: SetName.parse(name) for name in rates}
    with_own_video = list(dict.fromkeys(s.with_video("own") for s in set_names.values()))
    for name, row in rates.items():
        video = set_names[name].video
        k = with_own_video.index(set_names[name].with_video("own"))
        points = [(scales.index(s), rate) for s, rate in row.items()]
        axes.plot(
            *zip(*sorted(points), strict=True),
            marker=MARKERS[k % len(MARKERS)],
            color=COLOURS[k % len(COLOURS)],
            linestyle=LINE_STYLES[video],
            alpha=1.0 if video == "own" else 0.6,
            label=name.replace("_", " "),
        )
    axes.set_xticks(range(len(scales)), scales)
    axes.set(xlabel="scale (frames per token)", ylabel="word error rate (%)", ylim=(0, None))
    legend_below(axes)
    return figure


def error_by_size(experiments: dict[str, tuple[int, dict[str, float]]], path: Path) -> None:
    """Write `size_figure`."""
    save(size_figure(experiments), path, dpi=110)


def size_figure(experiments: dict[str, tuple[int, dict[str, float]]]) -> Figure:
    """Word error rate against active parameters, as in Fig. 1 of MoME.

    `experiments`: name -> active parameters and {scale: per cent}. A scale has a form, an
    experiment a number and a colour; beyond seven, the next ones are hollow. Experiments of equal
    size stand side by side, centred on their size.
    """
    scales = list(dict.fromkeys(s for _, rates in experiments.values() for s in rates))
    sizes = [active / 1e6 for active, _ in experiments.values()]
    shifts = [sizes[:k].count(x) - (sizes.count(x) - 1) / 2 for k, x in enumerate(sizes)]
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    for k, (name, (_, rates)) in enumerate(experiments.items()):
        x = sizes[k] + 0.02 * max(sizes) * shifts[k]
        colour = COLOURS[k % len(COLOURS)]
        face = colour if k // len(COLOURS) % 2 == 0 else "white"
        label = f"{k + 1}: {name.replace('_', ' ')}"
        axes.plot([], [], "o", color=colour, markerfacecolor=face, label=label)
        axes.annotate(
            str(k + 1), (x, max(rates.values())), xytext=(0, 6), textcoords="offset points",
            ha="center", fontsize=9,
        )  # fmt: skip
        axes.plot([x] * len(rates), [*rates.values()], color=colour, linewidth=0.5)
        for scale, rate in rates.items():
            marker = MARKERS[scales.index(scale) % len(MARKERS)]
            axes.plot(x, rate, marker, color=colour, markerfacecolor=face)
    for k, scale in enumerate(scales):
        axes.plot([], [], MARKERS[k % len(MARKERS)], color="0.5", label=scale)
    axes.set(xlabel="active parameters (millions)", ylabel="word error rate (%)")
    most = max(rate for _, rates in experiments.values() for rate in rates.values())
    axes.set(xlim=(0, (1.05 + 0.02 * max(shifts)) * max(sizes)), ylim=(0, 1.1 * most or 1))
    legend_below(axes)
    return figure


def clip(
    images: Iterable[np.ndarray],
    mouths: np.ndarray,
    samples: np.ndarray,
    scales: list[Scale],
    title: str,
    path: Path,
) -> None:
    """A clip as the model gets it: faces, mouths, spectrogram, and the tokens of each scale.

    Args:
        images: T of them, (H, W, 3) RGB, and `mouths` (T, 96, 96) grey, both 25 a second. A few are
            drawn, and no more of them are kept.
        samples: (S,) at 16 kHz.
        scales: drawn below the spectrogram, a box for each token.
    """
    duration = len(samples) / SAMPLE_RATE
    streams = [s for s in ("audio", "video") if any(getattr(x, s) for x in scales)]
    figure, rows = plt.subplots(
        3 + len(streams),
        1,
        figsize=(10, 4.9 + 0.3 * len(scales) * len(streams)),
        height_ratios=[1.4, 1.4, 1.7, *[0.3 * len(scales)] * len(streams)],
        layout="constrained",
    )
    chosen = np.linspace(0, len(mouths) - 1, NUM_IMAGES).round().astype(int)
    faces = {k: image for k, image in enumerate(images) if k in chosen}
    if chosen[-1] not in faces:
        raise ValueError(f"{title}: its video is shorter than its mouth crops: run stage 1 again")
    for axes, strip in zip(rows, ([faces[k] for k in chosen], mouths[chosen]), strict=False):
        axes.imshow(np.hstack(list(strip)), cmap="gray", vmin=0, vmax=255, aspect="equal")
        axes.set_axis_off()
    rows[0].set_title(title)
    extent = (0, duration, 0, NUM_MELS)
    rows[2].imshow(log_mel(samples), origin="lower", aspect="auto", cmap="magma", extent=extent)
    rows[2].set(ylabel="mel band", xlim=(0, duration), xticks=[])
    num_frames = {
        "audio": -(-len(samples) // (SAMPLE_RATE // AUDIO_FPS)),
        "video": len(mouths),
    }
    for axes, stream in zip(rows[3:], streams, strict=True):
        draw_tokens(axes, stream, num_frames[stream], [getattr(s, stream) for s in scales])
        axes.set(xlim=(0, duration), xticks=[])
    rows[-1].set(xlabel="seconds", xticks=np.arange(0, duration, 0.5))
    save(figure, path, dpi=110)


def draw_tokens(axes: Axes, stream: str, num_frames: int, rates: list[int]) -> None:
    """A row of boxes for each rate: the time that each token of a stream covers."""
    fps = FPS[stream]
    for k, rate in enumerate(rates):
        starts = np.arange(num_tokens(num_frames, rate)) * rate / fps
        ends = np.minimum(starts + rate / fps, num_frames / fps)
        boxes = list(zip(starts, ends - starts, strict=True))
        axes.broken_barh(boxes, (-k - 0.4, 0.8), color=COLOURS[k], edgecolor="white")
    axes.set_yticks(
        [-k for k in range(len(rates))], [f"{stream} {stream[0]}{rate}" for rate in rates]
    )
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """(80, 100 a second) log-mel spectrogram, the input of Whisper."""
    extractor = WhisperFeatureExtractor(feature_size=NUM_MELS)
    mel = extractor(samples, sampling_rate=SAMPLE_RATE, padding="do_not_pad")
    return mel.input_features[0]

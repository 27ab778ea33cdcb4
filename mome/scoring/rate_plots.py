"""Figures of error rates with their intervals: against tokens a second, and against the SNR."""

import math
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mome.scoring.figure_style import COLOURS, SIZE, legend_below, plt, series

MOST_NAMED = 13  # other systems that have a line of their own
CLEAN = math.inf  # the SNR of clean sound


@dataclass(frozen=True)
class Point:
    """An error rate in per cent at a place; an interval when it is known.

    Attributes:
        x: tokens a second, or the SNR in dB, or CLEAN.
        label: a word beside the point.
    """

    x: float
    rate: float
    low: float | None = None
    high: float | None = None
    label: str = ""


Lines = dict[str, list[Point]]


def error_by_tokens(own: str, lines: Lines, set_name: str) -> Figure:
    """Word error rate of one set against tokens a second, a line for each system.

    The line of `own` is thick, and its points are labelled. Systems beyond `MOST_NAMED` others are
    thin and grey.
    """
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    others = [name for name in lines if name != own]
    for name in others[MOST_NAMED:]:
        xs, ys = zip(*[(p.x, p.rate) for p in by_x(lines[name])], strict=True)
        axes.plot(xs, ys, color="0.8", linewidth=0.8, zorder=1)
    if others[MOST_NAMED:]:
        label = f"{len(others) - MOST_NAMED} more systems"
        axes.plot([], [], color="0.8", linewidth=0.8, label=label)
    for k, name in enumerate([own, *others[:MOST_NAMED]]):
        style = series(k) | ({"linewidth": 2.4, "markersize": 7, "zorder": 5} if k == 0 else {})
        draw_line(axes, by_x(lines[name]), name, style)
    for point in lines[own]:
        axes.annotate(
            point.label, (point.x, point.rate), xytext=(6, 6), textcoords="offset points",
            fontsize=9, color=COLOURS[0], zorder=6,
        )  # fmt: skip
    axes.set(xlabel="audio and video tokens a second", ylabel=f"word error rate, {set_name} (%)")
    axes.set_xlim(0, 1.12 * max(p.x for points in lines.values() for p in points))
    finish(axes, lines)
    return figure


def error_by_snr(lines: Lines, noise: str) -> Figure:
    """Word error rate in a noise against the SNR, a line for each scale; clean sound at the right.

    Lines are drawn a little beside each other, so that their intervals can be seen.
    """
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    snrs = sorted({p.x for points in lines.values() for p in points if p.x != CLEAN})
    step = min(np.diff(snrs), default=5.0)
    clean = snrs[-1] + 1.5 * step
    width = 0.06 * step
    for k, (name, points) in enumerate(lines.items()):
        beside = (k - (len(lines) - 1) / 2) * width
        noisy = [replace(p, x=p.x + beside) for p in by_x(points) if p.x != CLEAN]
        alone = [replace(p, x=clean + beside) for p in points if p.x == CLEAN]
        style = series(k)
        draw_line(axes, noisy, name, style)
        draw_line(axes, alone, "", style)
        ends = [*noisy[-1:], *alone]
        axes.plot([p.x for p in ends], [p.rate for p in ends], ":", color=style["color"])
    has_clean = any(p.x == CLEAN for points in lines.values() for p in points)
    ticks = [*snrs, *[clean] * has_clean]
    axes.set_xticks(ticks, [*(f"{snr:g}" for snr in snrs), *["clean"] * has_clean])
    axes.set(xlabel=f"SNR of the {noise} (dB)", ylabel="word error rate (%)")
    finish(axes, lines)
    return figure


def by_x(points: list[Point]) -> list[Point]:
    return sorted(points, key=lambda p: p.x)


def draw_line(axes: Axes, points: list[Point], name: str, style: dict) -> None:
    """A line and its error bars; no name, no entry in the legend."""
    if points:
        label = name or "_nameless"
        axes.plot([p.x for p in points], [p.rate for p in points], label=label, **style)
    for p in points:
        if p.low is not None and p.high is not None:
            axes.vlines(p.x, p.low, p.high, color=style["color"], linewidth=1.2)
            axes.plot([p.x] * 2, [p.low, p.high], "_", color=style["color"], markersize=5)


def finish(axes: Axes, lines: Lines) -> None:
    """The error axis from 0 up to the ends of the intervals, and the legend below."""
    rates = [p.rate for points in lines.values() for p in points]
    highs = [p.high for points in lines.values() for p in points if p.high is not None]
    axes.set_ylim(0, 1.06 * min(max([1.0, *rates, *highs]), 2 * max([1.0, *rates])))
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    legend_below(axes)

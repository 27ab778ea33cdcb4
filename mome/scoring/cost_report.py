"""What scales cost, as a table for the terminal and as a figure (MoME Tables 5 and 8, Fig. 6).

A row holds the fields of mome.scoring.scale_cost.Cost and, if it was timed, `encode_s` (of all
streams), `prefill_s`, `token_s`, `decode_s`, `peak_bytes` and `real_time_factor`; `wer` in per cent
if the experiment was scored.
"""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from mome.scoring import tables
from mome.scoring.figure_style import COLOURS, MARKERS, plt, save

PARTS = {"encode_s": "encoders", "prefill_s": "prompt", "decode_s": "text"}
Row = dict[str, Any]


def add_error_rates(rows: list[Row], exp_dir: Path) -> None:
    """Add the word error rate of the first test set, the clean one, if the scale was scored."""
    try:
        scores = tables.read_scores(exp_dir)
    except FileNotFoundError:
        return
    first = tables.order_sets({name for name, _ in scores})[0]
    for row in rows:
        if (first, row["scale"]) in scores:
            row["wer"] = scores[first, row["scale"]].error_rate


def title(about: dict[str, Any]) -> str:
    """What was counted and measured, in a few lines."""
    beams = "1 beam" if about["beams"] == 1 else f"{about['beams']} beams"
    text = f"{about['text_per_s']:g} text tokens a second"
    lines = [f"{about['model']}: {about['layers']} layers, {beams}, {text}"]
    if "device" in about:
        threads = f", {about['threads']} threads" if about["device"] == "cpu" else ""
        rounds = "1 round" if about["rounds"] == 1 else f"medians of {about['rounds']} rounds"
        lines.append(f"{about['device']}{threads}, {about['dtype']}, {rounds}")
        if about["layers_built"] < about["layers"]:
            factor = about["layers"] / about["layers_built"]
            lines.append(
                f"MEASURED WITH {about['layers_built']} OF {about['layers']} LAYERS: the time in"
                f" the layers was multiplied by {factor:g}; memory is not known"
            )
    return "\n".join(lines)


def table(rows: list[Row]) -> str:
    """Aligned columns, at most 100 characters wide; a line for each clip length and scale."""
    timed = "prefill_s" in rows[0]
    head = ["clip s", "scale", "tokens/s", "prompt"]
    if timed:
        head += ["TFLOP", "encode s", "prefill s", "ms/token", "decode s", "peak GB", "RTF"]
    else:
        head += ["text", "prefill TFLOP", "decode TFLOP", "TFLOP", "cache MB"]
    found = [head]
    for row in rows:
        flops = [row["prefill_flops"], row["decode_flops"]]
        tokens = f"{row['stream_tokens'] / row['clip_s']:.1f}"
        cells = [f"{row['clip_s']:g}", row["scale"], tokens, str(row["prompt_tokens"])]
        if timed:
            cells += [number(sum(flops) / 1e12), *times(row)]
        else:
            cells += [str(row["text_tokens"]), *(number(x / 1e12) for x in [*flops, sum(flops)])]
            cells += [f"{row['cache_bytes'] / 1e6:.0f}"]
        found.append(cells)
    return tables.plain(found)


def times(row: Row) -> list[str]:
    """The cells of what was measured."""
    memory = row["peak_bytes"]
    return [
        f"{row['encode_s']:.2f}",
        f"{row['prefill_s']:.2f}",
        f"{1e3 * row['token_s']:.1f}",
        f"{row['decode_s']:.2f}",
        "-" if memory is None else f"{memory / 1e9:.2f}",
        f"{row['real_time_factor']:.3f}",
    ]


def number(x: float) -> str:
    """Three digits that count: 0.0123, 1.23, 123."""
    return f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def figure(rows: list[Row], path: Path) -> None:
    """Operations by clip length, times by length and scale, error rates against operations.

    The last two are drawn if they were measured.
    """
    timed, scored = "prefill_s" in rows[0], any("wer" in row for row in rows)
    panels = [draw_flops, *[draw_times] * timed, *[draw_wer] * scored]
    ratios = {draw_flops: 4.2, draw_times: 6.0, draw_wer: 4.2}
    widths = [ratios[panel] for panel in panels]
    drawn, axes = plt.subplots(
        1, len(panels), figsize=(sum(widths), 3.9), width_ratios=widths, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for panel, place in zip(panels, axes[0], strict=True):
        panel(place, rows)
    save(drawn, path, dpi=130)


def scales_of(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["scale"] for row in rows))


def lengths_of(rows: list[Row]) -> list[float]:
    return list(dict.fromkeys(row["clip_s"] for row in rows))


def tflops(row: Row) -> float:
    return (row["prefill_flops"] + row["decode_flops"]) / 1e12


def draw_flops(axes: Axes, rows: list[Row]) -> None:
    """A line for each scale."""
    for k, scale in enumerate(scales_of(rows)):
        points = [(row["clip_s"], tflops(row)) for row in rows if row["scale"] == scale]
        axes.plot(
            *zip(*points, strict=True),
            marker=MARKERS[k % len(MARKERS)],
            color=COLOURS[k % len(COLOURS)],
            label=scale,
        )
    axes.set(xlabel="clip length (s)", ylabel="LLM, prompt and text (TFLOP)")
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.legend(title="scale")


def draw_times(axes: Axes, rows: list[Row]) -> None:
    """A bar for each scale, in a group for each clip length; its parts follow each other."""
    scales, lengths = scales_of(rows), lengths_of(rows)
    places = [
        lengths.index(row["clip_s"]) * (len(scales) + 1) + scales.index(row["scale"])
        for row in rows
    ]
    bottom = [0.0] * len(rows)
    for (part, label), colour in zip(PARTS.items(), COLOURS, strict=False):
        shares = [row[part] / row["clip_s"] for row in rows]
        axes.bar(places, shares, bottom=bottom, color=colour, label=label, edgecolor="white")
        bottom = [b + s for b, s in zip(bottom, shares, strict=True)]
    axes.set_xticks(places, [row["scale"] for row in rows], rotation=90, fontsize=8)
    for k, length in enumerate(lengths):
        middle = k * (len(scales) + 1) + (len(scales) - 1) / 2
        axes.annotate(
            f"{length:g} s", (middle, 1.02), xycoords=("data", "axes fraction"), ha="center"
        )
    axes.set(xlabel="clip length and scale", ylabel="time / clip length (real time = 1)")
    axes.set_ylim(0, 1.05 * max(bottom))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=len(PARTS))


def draw_wer(axes: Axes, rows: list[Row]) -> None:
    """A point for each scale, at the longest clip, with the tokens of its prompt."""
    scales, longest = scales_of(rows), max(lengths_of(rows))
    found = [row for row in rows if row["clip_s"] == longest and "wer" in row]
    for row in found:
        k, point = scales.index(row["scale"]), (tflops(row), row["wer"])
        axes.plot(*point, MARKERS[k % len(MARKERS)], color=COLOURS[k % len(COLOURS)], markersize=8)
        text = f"{row['scale']}, {row['prompt_tokens']}"
        axes.annotate(text, point, xytext=(0, 8), textcoords="offset points", ha="center")
    axes.set(xlabel=f"LLM, a clip of {longest:g} s (TFLOP)", ylabel="word error rate, clean (%)")
    axes.set_title("scale, tokens of the prompt", fontsize="medium")
    axes.set_xlim(0, 1.25 * max(map(tflops, found)))
    axes.set_ylim(0, 1.15 * max(row["wer"] for row in found))

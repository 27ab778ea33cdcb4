"""How figures look: one style, lines that all readers can tell apart, and files that are whole.

Lines differ in colour, in marker and in dashes, so that they can be told apart by colour-blind
readers and in grey print. Heat maps are in cividis, which grows lighter evenly.
"""

import io
from pathlib import Path
from typing import Any

import matplotlib

from mome import files

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# The colours of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = "os^Dv<>"
DASHES = ["-", "--", ":", "-."]
HEAT = "cividis"
SIZE = (5.4, 4.2)  # inches, with the legend below; letters stay legible on a small screen
plt.rcParams.update(
    {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "svg.hashsalt": "mome",  # the same figure gives the same file
    }
)


def series(k: int) -> dict[str, Any]:
    """Arguments of `plot` for the line of number k; the first 28 all look different."""
    turn, colour = divmod(k, len(COLOURS))
    return {
        "color": COLOURS[colour],
        "marker": MARKERS[(colour + turn) % len(MARKERS)],
        "linestyle": DASHES[turn % len(DASHES)],
        "markerfacecolor": COLOURS[colour] if turn % 2 == 0 else "white",
        "markersize": 5.5,
        "linewidth": 1.4,
    }


def legend_below(axes: Axes) -> None:
    """A legend under the axes, in as many columns as its names leave room for."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels), default=1)
    columns = round(11 * figure.get_figwidth() / (longest + 6))
    columns = max(1, min(4, len(labels), columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure, whole or not at all, in the format of the path's suffix; close it."""
    try:
        with files.atomic_write(path) as tmp_path:
            figure.savefig(tmp_path, dpi=dpi, format=path.suffix.removeprefix(".") or "png")
    finally:
        plt.close(figure)


def svg(figure: Figure) -> bytes:
    """A figure as SVG, in which letters are shapes and need no font; close it."""
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None})
    finally:
        plt.close(figure)
    return buffer.getvalue()

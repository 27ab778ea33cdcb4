"""Figures and text about the experts and tokens of a model, drawn from the result of `analyse`.

Heat maps are in cividis, which looks the same to colour-blind readers and grows lighter in grey
print; lines differ in colour and in marker.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mome import files
from mome.scoring import figure_style
from mome.scoring.figure_style import COLOURS, HEAT, MARKERS, plt
from mome.scoring.routing import KINDS

WITH = {  # in words, with the style of the line
    "same_time": ("same time", {"color": COLOURS[0], "marker": "o", "linestyle": "-"}),
    "other_time": (
        "other times of the utterance",
        {"color": COLOURS[1], "marker": "s", "linestyle": "--"},
    ),
    "other_utterance": (
        "another utterance",
        {"color": COLOURS[2], "marker": "^", "linestyle": ":"},
    ),
}
DPI = 150
CAPTIONS = {
    "load_by_scale": (
        "Share of the tokens that take each expert, at each scale (MoME Fig. 5 and 9). Panels that"
        " look alike mean that the scales load the experts alike; light cells in a row mean that"
        " most tokens of the layer take the same experts."
    ),
    "load_by_kind": (
        "The same by kind of token, over all scales. Panels that differ mean that experts"
        " specialise in audio, video or text."
    ),
    "router": (
        "Left: entropy of the router's probabilities; at the dotted line they are uniform, near 0"
        " one expert has all of them. Right: share of the tokens that take the set of experts that"
        " is most usual for their kind and layer; near 100 % the layer routes them all alike."
    ),
    "agreement": (
        "Share of the experts that two scales have in common for tokens of the same time: mean over"
        " pairs of scales, and their range in grey. Only the distance from the dashed line, other"
        " utterances, shows that scales agree about an utterance; at the dotted line experts are"
        " drawn at random."
    ),
    "similarity": (
        "Cosine between tokens by layer; layer 0 is the input of the LLM. Tokens are aligned in"
        " time where the line of the same time lies above that of other times, and tell utterances"
        " apart where that of other times lies above that of another utterance."
    ),
    "tokens": (
        "Cosines between the tokens of one utterance before the LLM (MoME Fig. 4 and 8). A light"
        " diagonal means that tokens of the same time are more alike than others."
    ),
}


def draw(result: dict[str, Any], out_dir: Path) -> dict[str, str]:
    """Draw the figures of a result into a folder. Returns name of each file -> its caption."""
    makers: dict[str, Callable[[dict[str, Any]], Figure | None]] = {}
    if result["experts"]:
        makers = {
            "load_by_scale": load_by_scale,
            "load_by_kind": load_by_kind,
            "router": router,
            "agreement": agreement,
        }
    drawn = {}
    for name, make in {**makers, "similarity": similarity, "tokens": tokens}.items():
        figure = make(result)
        if figure is not None:
            figure_style.save(figure, out_dir / f"{name}.png", dpi=DPI)
            drawn[f"{name}.png"] = CAPTIONS[name]
    return drawn


def write_page(
    title: str, result: dict[str, Any], tables: list[str], captions: dict[str, str], path: Path
) -> None:
    """Write index.md: what was analysed, tables in Markdown, the figures with their captions."""
    parts = [f"# {title}", describe(result), *(table.rstrip() for table in tables)]
    parts += [f"![{name}]({name})\n\n{caption}" for name, caption in captions.items()]
    files.write_text(path, "\n\n".join(parts) + "\n")


def describe(result: dict[str, Any]) -> str:
    """What was analysed, in a few sentences."""
    text = f"{result['utterances']} utterances at {', '.join(result['scales'])}."
    experts = result["experts"]
    if not experts:
        return f"{text} This model has no router, so only the similarity of tokens is analysed."
    num, usual = len(experts["usual_sets"]), [s["all"] for s in experts["usual_sets"]]
    text += (
        f" {experts['num_active']} of {experts['num_routed']} routed experts for each token,"
        f" router: {experts['router']}. In {sum(share > 0.5 for share in usual)} of {num} layers,"
        " more than half of the tokens take the same set of experts."
    )
    text += (
        f" A balanced load is {100 * experts['num_active'] / experts['num_routed']:.0f} % of the"
        " tokens for each expert."
    )
    if experts["router"] == "static":
        text += " This router ignores the token, so all tokens agree by construction."
    return text


def finding(name: str, result: dict[str, Any]) -> str:
    """What the numbers of a figure say, in a sentence; `name` is a key of `CAPTIONS`."""
    makers = {"load_by_scale": _load_finding, "load_by_kind": _kind_finding}
    makers |= {"router": _router_finding, "agreement": _agreement_finding}
    makers |= {"similarity": _similarity_finding}
    return makers[name](result) if name in makers else ""


def _load_finding(result: dict[str, Any]) -> str:
    maps = np.array([result["experts"]["load"][scale]["all"] for scale in result["scales"]])
    idle = (maps.mean(axis=0) < 0.01).sum(axis=-1).mean()
    text = f"In a layer, {idle:.1f} of {maps.shape[-1]} experts are taken by less than 1 % of the"
    text += " tokens (mean over layers)."
    if len(maps) > 1:
        spread = (maps.max(axis=0) - maps.min(axis=0)).mean()
        text += (
            f" Between scales, the share of an expert differs by {100 * spread:.0f} points (mean"
        )
        text += " over experts and layers)."
    return text


def _kind_finding(result: dict[str, Any]) -> str:
    maps = _load_of_kinds(result["experts"])
    if len(maps) < 2:
        return ""
    values = np.array(list(maps.values()))
    spread = (values.max(axis=0) - values.min(axis=0)).mean()
    return (
        f"Between kinds of token, the share of an expert differs by {100 * spread:.0f} points (mean"
        " over experts and layers)."
    )


def _router_finding(result: dict[str, Any]) -> str:
    experts = result["experts"]
    entropy, highest = np.mean(experts["entropy"]["all"]), np.log2(experts["num_routed"])
    usual = 100 * np.mean([layer["all"] for layer in experts["usual_sets"]])
    return (
        f"Over layers, the entropy is {entropy:.2f} of at most {highest:.2f} bits, and"
        f" {usual:.0f} % of the tokens take the most usual set of experts."
    )


def _agreement_finding(result: dict[str, Any]) -> str:
    parts = []
    by_kind = result["experts"]["agreement"]
    for kind, pairs in ((kind, by_kind[kind]) for kind in KINDS if kind in by_kind):
        same, other = (
            [np.mean(pair[name]) for pair in pairs.values() if name in pair]
            for name in ("same", "other")
        )
        if same and other:
            parts.append(f"{kind} {100 * np.mean(same):.0f} and {100 * np.mean(other):.0f} %")
    if not parts:
        return ""
    return f"In common between scales, in the same and in other utterances: {', '.join(parts)}."


def _similarity_finding(result: dict[str, Any]) -> str:
    parts = []
    for group, means in result["similarity"]["groups"].items():
        if means.keys() >= {"same_time", "other_time"}:
            gap = np.subtract(means["same_time"], means["other_time"])
            layer = int(np.argmax(gap))
            parts.append(
                f"{group}: {gap[0]:+.2f} before the LLM, {gap[layer]:+.2f} at layer {layer}"
            )
    if not parts:
        return ""
    return f"Cosine at the same time less that at other times, and its maximum: {'; '.join(parts)}."


def summary_tables(result: dict[str, Any]) -> list[list[list[str]]]:
    """Tables of what was found, means over layers: the experts by kind of token, and similarity."""
    found = []
    experts = result["experts"]
    if experts:
        highest = np.log2(experts["num_routed"])
        rows = [
            [
                "tokens",
                f"entropy (bits of {highest:.2f})",
                "take the usual set (%)",
                "experts in common: two scales (%)",
                "other utterances (%)",
            ]
        ]
        for kind in [k for k in (*KINDS, "all") if k in experts["entropy"]]:
            usual = np.mean([s.get(kind, 0.0) for s in experts["usual_sets"]])
            row = [kind, f"{np.mean(experts['entropy'][kind]):.2f}", f"{100 * usual:.0f}"]
            pairs = experts["agreement"].get(kind, {}).values()
            for name in ("same", "other"):
                values = [pair[name] for pair in pairs if name in pair]
                row.append(f"{100 * np.mean(values):.0f}" if values else "-")
            rows.append(row)
        found.append(rows)
    rows = [["cosine", *(text for text, _ in WITH.values())]]
    for group, means in result["similarity"]["groups"].items():
        for name, layers in (("before the LLM", slice(1)), ("mean over layers", slice(1, None))):
            cells = [f"{np.mean(means[k][layers]):.2f}" if k in means else "-" for k in WITH]
            rows.append([f"{group}: {name}", *cells])
    if len(rows) > 1:
        found.append(rows)
    return found


# ---- experts ------------------------------------------------------------------------------------


def load_by_scale(result: dict[str, Any]) -> Figure:
    """Heat maps of the load, layers by experts, one for each scale."""
    load = result["experts"]["load"]
    return _heat_maps({scale: np.array(load[scale]["all"]) for scale in result["scales"]})


def load_by_kind(result: dict[str, Any]) -> Figure:
    """Heat maps of the load, one for each kind of token, over all scales."""
    return _heat_maps(_load_of_kinds(result["experts"]))


def _load_of_kinds(experts: dict[str, Any]) -> dict[str, np.ndarray]:
    """Kind of token -> its load over all scales, (layers, experts)."""
    maps = {}
    for kind in (kind for kind in KINDS if kind in experts["entropy"]):
        counts = {s: experts["tokens"][s][kind] for s in experts["load"]}
        total = sum(n * np.array(experts["load"][s][kind]) for s, n in counts.items() if n)
        maps[f"{kind} tokens"] = total / sum(counts.values())
    return maps


def _heat_maps(maps: dict[str, np.ndarray]) -> Figure:
    """Maps (layers, experts) of shares from 0 to 1."""
    num = len(maps)
    columns = min(num, 2) if num <= 4 else 4
    num_rows = -(-num // columns)
    layers, experts = next(iter(maps.values())).shape
    size = (1.5 + columns * max(2.4, 0.17 * experts), 0.6 + num_rows * max(1.6, 0.11 * layers))
    figure, grid = plt.subplots(
        num_rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, (title, values) in zip(grid.flat, maps.items(), strict=False):
        image = axes.imshow(
            values, vmin=0, vmax=1, cmap=HEAT, aspect="auto", interpolation="nearest",
            extent=(0.5, experts + 0.5, layers + 0.5, 0.5),
        )  # fmt: skip
        axes.set_title(title, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in grid.flat[num:]:
        axes.set_axis_off()
    figure.supxlabel("expert", fontsize=10)
    figure.supylabel("layer", fontsize=10)
    figure.colorbar(image, ax=grid, label="share of the tokens that take the expert")
    return figure


def router(result: dict[str, Any]) -> Figure:
    """Entropy of the router, and share of the tokens that take the usual set, by layer."""
    experts = result["experts"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    kinds = [kind for kind in KINDS if kind in experts["entropy"]]
    for k, kind in enumerate(kinds):
        style = {"color": COLOURS[k], "marker": MARKERS[k], "markersize": 3.5, "linewidth": 1.2}
        entropy = experts["entropy"][kind]
        layers = range(1, len(entropy) + 1)
        left.plot(layers, entropy, label=kind, **style)
        shares = [100 * s.get(kind, 0.0) for s in experts["usual_sets"]]
        right.plot(layers, shares, label=kind, **style)
    left.axhline(np.log2(experts["num_routed"]), color="black", linestyle=":", label="uniform")
    _by_layer(left, "entropy (bits)")
    _by_layer(right, "tokens that take the usual set (%)", top=104)
    left.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.94))
    return figure


def agreement(result: dict[str, Any]) -> Figure | None:
    """Experts that two scales have in common, by layer and kind of token; None for one scale."""
    experts = result["experts"]
    by_kind = {k: experts["agreement"][k] for k in KINDS if k in experts["agreement"]}
    if not by_kind:
        return None
    figure, grid = plt.subplots(
        1, len(by_kind), figsize=(0.6 + 3 * len(by_kind), 3.4), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    at_random = 100 * experts["num_active"] / experts["num_routed"]
    for axes, (kind, pairs) in zip(grid.flat, by_kind.items(), strict=True):
        for name, text, colour, marker, line in (
            ("same", "same utterance", COLOURS[0], "o", "-"),
            ("other", "other utterances", COLOURS[1], "s", "--"),
        ):
            values = 100 * np.array([pair[name] for pair in pairs.values() if name in pair])
            if not len(values):
                continue
            layers = np.arange(1, values.shape[1] + 1)
            axes.fill_between(layers, values.min(0), values.max(0), color="0.8", linewidth=0)
            axes.plot(
                layers, values.mean(0), color=colour, marker=marker, linestyle=line, label=text,
                markersize=3.5, linewidth=1.2,
            )  # fmt: skip
        axes.axhline(at_random, color="black", linestyle=":", label="at random")
        axes.set_title(f"{kind} tokens", fontsize=10)
        _by_layer(axes, "experts in common (%)" if axes is grid[0, 0] else "", top=104)
    grid[0, -1].legend(fontsize=8)
    return figure


# ---- tokens -------------------------------------------------------------------------------------


def similarity(result: dict[str, Any]) -> Figure | None:
    """Cosine of tokens by layer, a panel for each group of streams; None if there is no group."""
    groups = {name: means for name, means in result["similarity"]["groups"].items() if means}
    if not groups:
        return None
    columns = min(len(groups), 2)
    num_rows = -(-len(groups) // columns)
    figure, grid = plt.subplots(
        num_rows, columns, figsize=(0.6 + 3.8 * columns, 0.3 + 2.7 * num_rows), sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, (group, means) in zip(grid.flat, groups.items(), strict=False):
        for name, (text, style) in WITH.items():
            if name in means:
                axes.plot(range(len(means[name])), means[name], label=text, markersize=3.5, **style)
        axes.set_title(group, fontsize=10)
        axes.axhline(0, color="0.7", linewidth=0.6)
        _by_layer(axes, "cosine")
        axes.set_ylim(None, 1.04)
    for axes in grid.flat[len(groups) :]:
        axes.set_axis_off()
    grid[0, 0].legend(fontsize=8)
    return figure


def tokens(result: dict[str, Any]) -> Figure:
    """Cosines of the tokens of one utterance, over time."""
    panels = result["example"]["panels"]
    columns = min(len(panels), 2)
    num_rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        num_rows, columns, figsize=(1 + 3.4 * columns, 0.4 + 3.1 * num_rows), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    values = np.concatenate([np.ravel(panel["cosine"]) for panel in panels])
    for axes, panel in zip(grid.flat, panels, strict=False):
        image = axes.pcolormesh(
            panel["columns_s"], panel["rows_s"], panel["cosine"], cmap=HEAT,
            vmin=values.min(), vmax=values.max(), rasterized=True,
        )  # fmt: skip
        axes.invert_yaxis()
        axes.set(
            xlabel=f"time of {panel['columns']} tokens (s)",
            ylabel=f"time of {panel['rows']} tokens (s)",
        )
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.colorbar(image, ax=grid, label="cosine")
    return figure


def _by_layer(axes: Axes, ylabel: str, top: float | None = None) -> None:
    axes.set(xlabel="layer", ylabel=ylabel)
    if top is not None:
        axes.set_ylim(0, top)
    elif "bits" in ylabel:
        axes.set_ylim(0, None)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))

"""The figures of the page, each with sentences that say what its numbers show."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from mome.compression import Scale
from mome.data.set_name import SetName
from mome.scoring import expert_plots, figure_style, plots, rate_plots
from mome.scoring.page.html import Html, data_uri, join, tag
from mome.scoring.page.scored import Scored
from mome.scoring.rate_plots import CLEAN, Point
from mome.scoring.wer import one_digit

MOST_WITH_BARS = 1  # other systems; more bars would hide each other


def figure(drawn: Figure, name: str, caption: str, broad: bool = False) -> Html:
    """A drawing with its name and caption; a broad one scrolls on a small screen."""
    content = data_uri(figure_style.svg(drawn), "image/svg+xml")
    image = tag("img", src=content, alt=f"{name}. {caption}")
    if broad:
        image = tag("div", image, class_="box", tabindex=0, role="region", aria_label=name)
    text = tag("figcaption", tag("b", f"{name}. "), caption)
    return tag("figure", image, text, class_="broad" if broad else None)


def missing(name: str, why: object) -> Html:
    return tag("p", tag("b", f"{name}. "), why, class_="missing")


def of_error_rates(exp: Scored, others: list[Scored]) -> Html:
    """Error rates against tokens a second, SNR, scale and size."""
    found = [by_tokens(exp, others, exp.clean)]
    if exp.hardest != exp.clean:
        found.append(by_tokens(exp, others, exp.hardest))
    return tag("div", *found, by_snr(exp), by_scale(exp), by_size(exp, others), class_="figures")


def change(before: float, after: float) -> str:
    """`2.0 points more than` or `... less than` or `the same as`."""
    points = after - before
    if abs(points) < 0.05:
        return "the same as"
    return f"{abs(points):.1f} points {'more' if points > 0 else 'less'} than"


# ---- tokens a second ----------------------------------------------------------------------------


def by_tokens(exp: Scored, others: list[Scored], name: str) -> Html:
    """Every system that was scored on a set."""
    lines = {exp.tag: points_by_tokens(exp, name)}
    for other in others:
        points = points_by_tokens(other, name)
        if len(others) > MOST_WITH_BARS:
            points = [replace(p, low=None, high=None) for p in points]
        if points and other.tag not in lines:
            lines[other.tag] = points
    title = f"Word error rate and tokens a second, {name}"
    if not lines[exp.tag]:
        return missing(title, "This set has no words, so there is no error rate.")
    drawn = rate_plots.error_by_tokens(exp.tag, lines, name.replace("_", " "))
    return figure(drawn, title, by_tokens_caption(exp, lines, name))


def points_by_tokens(exp: Scored, name: str) -> list[Point]:
    return [
        Point(Scale.parse(scale).tokens_per_second, rate, *exp.ends(name, scale), scale)
        for scale, rate in exp.rates(name).items()
    ]


def by_tokens_caption(exp: Scored, lines: rate_plots.Lines, name: str) -> str:
    points = lines[exp.tag]
    best = min(points, key=lambda p: p.rate)
    text = f"One set of weights at {len(points)} scale{'s' * (len(points) > 1)}: {exp.tag} has its"
    text += f" lowest error rate, {one_digit(best.rate)} %, at {best.label}"
    text += f" ({best.x:.3g} tokens a second)"
    fewest = min(points, key=lambda p: p.x)
    if fewest is not best:
        text += f"; at {fewest.label} ({fewest.x:.3g}) it is {change(best.rate, fewest.rate)} that"
    text += ". Lower and further left is better."
    if any(p.low is not None for p in points):
        text += " Bars: 95 % intervals"
        has_others = any(p.low is not None for tag in lines if tag != exp.tag for p in lines[tag])
        text += "." if has_others or len(lines) == 1 else f" (of {exp.tag} alone)."
    if len(lines) > 1:
        lowest = {tag: min(p.rate for p in line) for tag, line in lines.items()}
        first = min(lowest, key=lowest.__getitem__)
        text += f" Of {len(lines)} systems, {first} reaches the lowest rate,"
        text += f" {one_digit(lowest[first])} %."
    else:
        text += " No other experiment was compared on this set (mome report --compare_with exp)."
    return text


# ---- SNR ----------------------------------------------------------------------------------------


def by_snr(exp: Scored) -> Html:
    """A figure for each noise."""
    parsed = {name: SetName.parse(name) for name in exp.main_sets}
    noises = list(dict.fromkeys(s.noise for s in parsed.values() if s.noise))
    if not noises:
        return missing(
            "Word error rate and SNR", "No test set in noise was decoded (setting test_noise)."
        )
    found = []
    for noise in noises:
        sets = {name: s.snr for name, s in parsed.items() if s.noise in (noise, None)}
        lines: rate_plots.Lines = {}
        for name, snr in sets.items():
            for scale, rate in exp.rates(name).items():
                point = Point(CLEAN if snr is None else snr, rate, *exp.ends(name, scale))
                lines.setdefault(scale, []).append(point)
        if any(p.x != CLEAN for points in lines.values() for p in points):
            drawn = rate_plots.error_by_snr(lines, noise.replace("_", " "))
            title = f"Word error rate and SNR, {noise}"
            found.append(figure(drawn, title, by_snr_caption(lines)))
    return join(found)


def by_snr_caption(lines: rate_plots.Lines) -> str:
    parts = []
    for scale in dict.fromkeys((next(iter(lines)), list(lines)[-1])):
        noisy = rate_plots.by_x([p for p in lines[scale] if p.x != CLEAN])
        clean = [p for p in lines[scale] if p.x == CLEAN]
        if noisy:
            start = clean[0] if clean else noisy[-1]
            place = "in clean sound" if clean else f"at {start.x:g} dB"
            parts.append(
                f"at {scale}, the error rate is {one_digit(start.rate)} % {place} and"
                f" {one_digit(noisy[0].rate)} % at {noisy[0].x:g} dB"
            )
    text = "; ".join(parts)
    text = f"{text[0].upper()}{text[1:]}. " if text else ""
    if any(p.low is not None for points in lines.values() for p in points):
        text += "Bars: 95 % intervals. "
    return f"{text}Lower is better; a flat line is robust to noise."


# ---- scale, size, training ----------------------------------------------------------------------


def by_scale(exp: Scored) -> Html:
    """Every set at the scales it was decoded at; broken lines are sets with another video."""
    rates = {name: found for name in exp.sets if (found := exp.rates(name))}
    title = "Word error rate of every set by scale"
    if not rates:
        return missing(title, "No set has words.")
    return figure(plots.scale_figure(rates), title, by_scale_caption(exp, rates))


def by_scale_caption(exp: Scored, rates: dict[str, dict[str, float]]) -> str:
    parts = []
    for name in rates:
        own = str(SetName.parse(name).with_video("own"))
        video = SetName.parse(name).video
        if video == "own" or own not in rates:
            continue
        scale = exp.finest(name)
        if scale in rates[name] and scale in rates[own]:
            what = {"zeroed": "zeros for the video", "other": "another video"}[video]
            parts.append(
                f"{own} with {what} has {one_digit(rates[name][scale])} % at {scale},"
                f" {change(rates[own][scale], rates[name][scale])} with its own"
            )
    text = "Solid lines: sets with their own video; dashed: zeros in its place; dotted: the video"
    text += " of another utterance. "
    if parts:
        return f"{text}{'; '.join(parts)}."
    return f"{text}No set was decoded without its own video (setting video_checks)."


def by_size(exp: Scored, others: list[Scored]) -> Html:
    """Error rates against active parameters (MoME Fig. 1)."""
    title = f"Word error rate and active parameters, {exp.clean}"
    found = {
        one.tag: (one.size["active"], rates)
        for one in [exp, *others]
        if "active" in one.size and (rates := one.rates(exp.clean))
    }
    if len(found) < 2:
        return missing(title, "This figure needs two experiments of known size (--compare_with).")
    smallest = min(found, key=lambda tag: found[tag][0])
    best = min(found, key=lambda tag: min(found[tag][1].values()))
    rates = {tag: min(scales.values()) for tag, (_, scales) in found.items()}
    sizes = {tag: f"{active / 1e6:.2f} million" for tag, (active, _) in found.items()}
    text = "A number stands for a system, a form for a scale."
    text += f" The smallest system is {smallest} ({sizes[smallest]}); the lowest error rate is that"
    text += f" of {best}, {one_digit(rates[best])} % with {sizes[best]}."
    text += " Lower and further left is better."
    return figure(plots.size_figure(found), title, text)


def of_training(exp: Scored) -> Html:
    """Loss over steps."""
    metrics, floor = exp.metrics, exp.floor
    if not metrics:
        return missing("Loss", f"{exp.exp_dir}/metrics.jsonl is missing: nothing was trained here.")
    text = f"{max(m['step'] for m in metrics)} optimiser steps."
    for scale in plots.loss_scales(metrics):
        points = [
            (m["step"], m[f"valid_loss_{scale}"]) for m in metrics if f"valid_loss_{scale}" in m
        ]
        step, least = min(points, key=lambda point: point[1])
        text += f" Validation at {scale}: lowest {least:.2f} at step {step},"
        text += f" last {points[-1][1]:.2f}."
    if floor is not None:
        text += (
            f" A model that has only the text reaches {floor:.2f} (dotted line): below it, sound"
        )
        text += " and video are used."
    drawn = plots.loss_figure(metrics, floor)
    return tag("div", figure(drawn, "Loss", text), class_="figures")


# ---- experts ------------------------------------------------------------------------------------

NAMES: dict[str, tuple[str, Callable[[dict[str, Any]], Figure | None]]] = {
    "load_by_scale": ("Load of the experts by scale", expert_plots.load_by_scale),
    "load_by_kind": ("Load of the experts by kind of token", expert_plots.load_by_kind),
    "router": ("Entropy of the routers, and usual sets", expert_plots.router),
    "agreement": ("Agreement between scales", expert_plots.agreement),
    "similarity": ("Similarity of tokens", expert_plots.similarity),
    "tokens": ("Tokens of one utterance", expert_plots.tokens),
}
NEED_EXPERTS = ("load_by_scale", "load_by_kind", "router", "agreement")


def of_experts(exp: Scored) -> Html:
    """What `mome analyse` found: experts, and similarity of tokens."""
    path = next(
        (
            path
            for name in exp.sets
            if (path := exp.exp_dir / "analysis" / name / "analysis.json").exists()
        ),
        None,
    )
    if path is None:
        command = f"mome analyse {exp.exp_dir} --sets {exp.clean}"
        text = ("Experts and tokens were not analysed yet: run ", tag("code", command), ", then")
        return missing("Experts and tokens", join([*text, " stage 5 again."]))
    result = json.loads(path.read_text())
    found: list[Html] = [tag("p", f"Set {path.parent.name}: {expert_plots.describe(result)}")]
    drawn = []
    for name, (title, make) in NAMES.items():
        made = None if name in NEED_EXPERTS and not result["experts"] else make(result)
        if made is not None:
            caption = f"{expert_plots.finding(name, result)} {expert_plots.CAPTIONS[name]}"
            drawn.append(figure(made, title, caption.strip(), broad=True))
    found.append(tag("div", *drawn, class_="figures"))
    return join(found)


def expert_tables(exp: Scored) -> list[list[list[str]]]:
    """The tables of every analysis, with the set in the first cell."""
    found = []
    for name in exp.sets:
        path = exp.exp_dir / "analysis" / name / "analysis.json"
        if path.exists():
            for rows in expert_plots.summary_tables(json.loads(path.read_text())):
                found.append([[f"{name}: {rows[0][0]}", *rows[0][1:]], *rows[1:]])
    return found

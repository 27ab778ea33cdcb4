"""The page as a whole: summary, examples, worst utterances, figures, tables, glossary."""

import base64
import hashlib
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from mome import files
from mome.data.set_name import SetName
from mome.scoring import tables
from mome.scoring.page import examples, figures, html
from mome.scoring.page.glossary import TERMS, describe_scale, describe_set
from mome.scoring.page.html import Html, fold, join, section, tag
from mome.scoring.page.scored import Scored
from mome.scoring.provenance import commands, environment_rows, stage_times
from mome.scoring.statistics import Interval
from mome.scoring.tables import with_interval
from mome.scoring.wer import COLUMNS, Score, one_digit

MOST_SETS = 12  # in the first table
MOST_SPEAKER_ROWS = 3000
PARTS = {
    "summary": "Summary",
    "examples": "Examples",
    "worst": "Worst utterances",
    "error-rates": "Error rates",
    "training": "Training",
    "experts": "Experts and tokens",
    "tables": "Tables",
    "glossary": "Glossary",
}


def write_page(exp: Scored, others: list[Scored] | None = None) -> Path:
    """Write exp/<tag>/report/index.html; returns its path.

    What is not there (sounds, crops, metrics, analyses) is named on the page.

    Args:
        others: experiments to compare with; `exp` may be one of them.
    """
    path = exp.exp_dir / "report" / "index.html"
    compared = [other for other in others or [] if other.exp_dir != exp.exp_dir]
    files.write_text(path, page(exp, compared))
    return path


def page(exp: Scored, others: list[Scored]) -> str:
    """The whole document."""
    contents = {
        "summary": summary(exp),
        "examples": join([examples.legend(), examples.examples(exp)]),
        "worst": examples.worst(exp),
        "error-rates": figures.of_error_rates(exp, others),
        "training": figures.of_training(exp),
        "experts": figures.of_experts(exp),
        "tables": all_tables(exp, others),
        "glossary": glossary(exp),
    }
    script = resource("page.js")
    links = [tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title in PARTS.items()]
    head = join(
        [
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy(script)),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("link", rel="icon", href="data:,"),  # or browsers would ask for one
            tag("title", f"{exp.tag}: report"),
            tag("style", Html(resource("page.css"))),
        ],
        "\n",
    )
    nav = tag("nav", tag("ul", *links), aria_label="Parts of this page")
    sections = [section(PARTS[anchor], anchor, part) for anchor, part in contents.items()]
    source = ["Written by ", tag("code", "mome report"), " from the files in "]
    body = join(
        [
            tag("header", tag("h1", exp.tag), tag("p", headline(exp)), nav),
            tag("main", *sections),
            tag("footer", tag("p", *source, tag("code", exp.exp_dir), ".", class_="soft")),
            tag("script", Html(script)),
        ],
        "\n",
    )
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>{body}</body>\n</html>\n'


def policy(script: str) -> str:
    """What a browser may run and load: this script and what is in the page; nothing else."""
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    inside = "img-src data:; media-src data:; style-src 'unsafe-inline'"
    return f"default-src 'none'; {inside}; script-src 'sha256-{hashed}'"


def resource(name: str) -> str:
    return (resources("mome.scoring.page") / name).read_text(encoding="utf-8")


# ---- summary ------------------------------------------------------------------------------------


def headline(exp: Scored) -> str:
    """The error rates at both ends of the scales, in one sentence."""
    finest, coarsest = exp.finest(exp.clean), exp.coarsest(exp.clean)
    text = f"Word error rate on {exp.clean}: {percent(exp, exp.clean, finest)} at {finest}"
    if coarsest != finest:
        text += f", {percent(exp, exp.clean, coarsest)} at {coarsest}"
    if exp.hardest != exp.clean:
        scale = exp.finest(exp.hardest)
        text += f"; on {exp.hardest}: {percent(exp, exp.hardest, scale)} at {scale}"
    return f"{text}."


def percent(exp: Scored, name: str, scale: str) -> str:
    """`3.5 % (95 % interval 2.1 to 5.0)`."""
    text = f"{one_digit(exp.scores[name, scale].error_rate)} %"
    if (name, scale) in exp.intervals:
        low, high = map(one_digit, exp.intervals[name, scale])
        text += f" (95 % interval {low} to {high})"
    return text


def summary(exp: Scored) -> Html:
    """What was trained, on what, how, and the main error rates."""
    shown = exp.main_sets[:MOST_SETS]
    caption = "Word error rate in per cent, with its 95 % interval where there is one."
    if len(shown) < len(exp.main_sets):
        caption += f" {len(shown)} of {len(exp.main_sets)} sets; the others are under Tables."
    rows = rate_rows(exp, shown)
    facts = [(name, value) for name, value in system_facts(exp) if value]
    facts += run_facts(exp)
    terms = [join([tag("dt", name), tag("dd", value)]) for name, value in facts]
    return join([html.table(rows, caption), tag("dl", *terms)])


def rate_rows(exp: Scored, sets: list[str]) -> list[list]:
    rows: list[list] = [["set", *exp.scales]]
    for name in sets:
        rates = [cell(exp, name, scale) for scale in exp.scales]
        rows.append([(set_link(name), exp.sets.index(name)), *rates])
    return rows


def cell(exp: Scored, name: str, scale: str) -> str:
    """`3.5 [2.1, 5.0]`, or `-`."""
    score, ends = exp.scores.get((name, scale)), exp.intervals.get((name, scale))
    text = tables.rate(score)
    return f"{text} [{one_digit(ends[0])}, {one_digit(ends[1])}]" if score and ends else text


def set_link(name: str) -> Html:
    return tag("a", name, href=f"#set-{name}", title=describe_set(name))


def system_facts(exp: Scored) -> list[tuple[str, Any]]:
    """The system in the words of its config."""
    if not exp.config:
        return [("system", f"{exp.exp_dir}/config.yaml is missing, so settings are not known.")]
    model, encoders = exp.config.get("model", {}), exp.config.get("encoders", {})
    adapter = model.get("adapter")
    text = f"{adapter}, position {model.get('position')}"
    if adapter == "mome":
        text += f", {model.get('num_routed')} routed experts of which {model.get('num_active')}"
        text += f" work on a token, {model.get('num_shared')} shared, each"
        text += f" {model.get('expert_dim')} wide, router {model.get('router')}"
    used = {stream: encoders.get(stream) for stream in ("audio", "video")}
    if not exp.reads_video:
        used.pop("video")
    return [
        ("LLM", model.get("llm")),
        ("adapter", text),
        ("encoders", ", ".join(f"{stream}: {name}" for stream, name in used.items() if name)),
        ("task", model.get("task")),
        ("parameters", ", ".join(f"{n / 1e6:.2f} M {name}" for name, n in exp.size.items()
                                 if name in tables.SIZES)),
    ]  # fmt: skip


def run_facts(exp: Scored) -> list[tuple[str, Any]]:
    """Scales, training, date, versions and commands."""
    steps = [m for m in exp.metrics if "llm_tokens" in m]
    facts: list[tuple[str, Any]] = [("scales", ", ".join(exp.scales))]
    if steps:
        tokens = sum(m["llm_tokens"] for m in steps)
        facts.append(("training", f"{steps[-1]['step']} steps, {tokens:,} tokens read by the LLM"))
    times = stage_times(exp.exp_dir)
    if times:
        minutes = ", ".join(f"{stage}: {s / 60:.1f}" for stage, s in sorted(times.items()))
        facts.append(("minutes of stage", f"{minutes}; {sum(times.values()) / 60:.1f} in all"))
    environment = environment_rows()
    dates = {"date": "date of this page", "git": "commit of this page"}
    facts += [(dates[name], value) for name, value in environment if name in dates]
    versions = [f"{name} {value}" for name, value in environment if name not in dates]
    facts.append(("versions", ", ".join(versions)))
    lines = [
        tag("div", tag("code", line), f" (git: {commit})") for line, commit in commands(exp.exp_dir)
    ]
    if lines:
        facts.append(("commands", join(lines)))
    return facts


# ---- tables -------------------------------------------------------------------------------------


def all_tables(exp: Scored, others: list[Scored]) -> Html:
    """Every set and scale in every unit, speakers, and the other experiments; all folded."""
    text = "A click on a column sorts a table by it; a second click turns the order round."
    caption = "Word error rate in per cent, with its 95 % interval."
    parts = [
        tag("p", text),
        fold("Word error rates of all sets", html.table(rate_rows(exp, exp.sets), caption)),
        fold("Word error rates by noise and SNR", *noise_tables(exp, others)),
    ]
    for unit, title in tables.UNITS.items():
        scores = tables.read_scores(exp.exp_dir, unit)
        if scores:
            caption = f"{title}: rates in per cent, as NIST sclite has them."
            parts.append(fold(f"{title}, every set and scale", html.table(
                detail_rows(scores, unit), caption)))  # fmt: skip
    parts.append(fold("Speakers", *speakers(exp)))
    for rows in figures.expert_tables(exp):
        parts.append(fold(f"Analysis of {rows[0][0]}", html.table(rows, "Means over layers.")))
    if others:
        every = [exp, *others]
        rows = tables.comparison({one.tag: one.scores for one in every})
        rates = html.table(rows, "Word error rate in per cent.")
        costs = html.table(tables.costs([one.exp_dir for one in every]), "What was trained.")
        parts.append(fold("All experiments", rates, costs))
    return join(parts)


def noise_tables(exp: Scored, others: list[Scored]) -> list[Html]:
    """Rows of noise and SNR, with the gain over audio alone if such an experiment is known."""
    alone = tables.audio_alone(exp.exp_dir, [one.exp_dir for one in others])
    caption = "Word error rate in per cent, with its 95 % interval"
    if alone:
        caption += f"; (+x %): the share of the errors of audio alone, {alone.name}, that are gone."
    else:
        caption += ". No experiment on audio alone was compared, so there is no gain over it."
    found = [html.table(tables.in_noise(exp.exp_dir, alone), caption)]
    without = tables.in_noise(exp.exp_dir, None, video=True)
    if len(without) > 1:
        found.append(html.table(without, "The same with another or a zeroed video."))
    return found


def detail_rows(scores: tables.Scores, unit: str) -> list[list]:
    """ESPnet's columns, with a link to the alignments in sclite's form."""
    rows: list[list] = [["set", "scale", *COLUMNS, "alignments"]]
    for scale in tables.order_scales({scale for _, scale in scores}):
        for name in tables.order_sets({n for n, s in scores if s == scale}):
            score = scores[name, scale]
            link = tag("a", "result.txt", href=f"../decode_{scale}/{name}/score_{unit}/result.txt")
            rates = [one_digit(rate) for rate in score.rates()]
            rows.append([name, scale, str(score.sentences), str(score.words), *rates, link])
    return rows


def speakers(exp: Scored) -> list[Html]:
    """A row for each speaker and set; beyond a limit, only the clean and the hardest set."""
    sets, note = exp.sets, ""
    num = sum(len(of_finest(exp, name)) for name in exp.sets)
    if num > MOST_SPEAKER_ROWS:
        sets = list(dict.fromkeys([exp.clean, exp.hardest]))
        note = f" {num} rows would be too many, so only those of {' and '.join(sets)} are here;"
        note += " result.txt of every set has its speakers."
    rows: list[list] = [["speaker", "set", "Snt", "Wrd", *exp.scales]]
    for name in sets:
        found = [exp.files.get((name, s), {}).get("speakers", {}) for s in exp.scales]
        for speaker, values in of_finest(exp, name).items():
            rates = [speaker_cell(speakers.get(speaker)) for speakers in found]
            size = [str(values["sentences"]), str(values["words"])]
            rows.append([speaker, (name, exp.sets.index(name)), *size, *rates])
    if len(rows) == 1:
        return [tag("p", "The scores have no speakers: run stage 5 again.", class_="missing")]
    caption = "Word error rate in per cent of each speaker, with its 95 % interval if it has one."
    return [html.table(rows, caption + note)]


def of_finest(exp: Scored, name: str) -> dict[str, dict]:
    """What score.json says of the speakers of a set at its finest scale."""
    return exp.files[name, exp.finest(name)].get("speakers", {})


def speaker_cell(values: dict | None) -> str:
    """The error rate of a speaker in score.json, with its interval, or `-`."""
    if values is None:
        return "-"
    values = dict(values)
    ends = values.pop("interval", None)
    return with_interval(Score(**values), Interval(**ends) if ends else None)


# ---- glossary -----------------------------------------------------------------------------------


def glossary(exp: Scored) -> Html:
    """Scales, sets and terms in words."""
    scales = [join([tag("dt", s), tag("dd", describe_scale(s))]) for s in exp.scales]
    sets = [
        join(
            [
                tag("dt", name, id=f"set-{name}"),
                tag("dd", f"{describe_set(name)}.{noise(exp, name)}"),
            ]
        )
        for name in exp.sets
    ]
    terms = [join([tag("dt", name), tag("dd", f"{text}.")]) for name, text in TERMS.items()]
    return join(
        [
            tag("h3", "Scales"),
            tag("p", "A scale says how many frames of each stream are averaged into a token."),
            tag("dl", *scales),
            tag("h3", "Sets"),
            tag("dl", *sets),
            tag("h3", "Terms"),
            tag("dl", *terms),
        ]
    )


def noise(exp: Scored, name: str) -> str:
    """Where the pieces of noise of a set are listed."""
    parsed = SetName.parse(name)
    path = exp.data_dir / str(parsed.with_video("own")) / "noise.tsv"
    return f" Its pieces of noise are listed in {path}." if path.exists() else ""

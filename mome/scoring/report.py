"""RESULTS.md of a recipe: error rates of its experiments, where they come from, and figures."""

import re
from pathlib import Path

from mome import files
from mome.data.set_name import SetName
from mome.scoring import plots
from mome.scoring.page.glossary import TERMS, describe_scale, describe_set
from mome.scoring.provenance import commands, environment_rows, stage_times
from mome.scoring.tables import (
    UNITS,
    audio_alone,
    comparison,
    costs,
    details,
    in_noise,
    markdown,
    order_scales,
    order_sets,
    read_json,
    read_metrics,
    read_score_files,
    read_scores,
    shows_own_video,
    speakers,
    systems,
)
from mome.scoring.texts import Rules

MOST_ROWS = 40  # of ESPnet's table in RESULTS.md
MOST_SYSTEMS = 16  # in a table of experiments


def write_results(path: Path, exp_dirs: list[Path], others: list[Path]) -> None:
    """Write RESULTS.md, a short summary, and tables.md in the report/ of each experiment.

    Args:
        path: of RESULTS.md. It links to a NOTES.md in the same folder, which is written by hand.
        exp_dirs: experiments whose figures are drawn, in figures/ of the same folder.
        others: further experiments to compare with; they may be among `exp_dirs`.

    Raises FileNotFoundError for an experiment without scores; RESULTS.md then stays as it was.
    """
    shown = [*exp_dirs, *(exp_dir for exp_dir in others if exp_dir not in exp_dirs)]
    keys = [key for exp_dir in shown for key in read_scores(exp_dir)]
    folder = path.parent / "figures"
    text = f"# Results\n\nWritten by `mome report`, stage 5 of the recipe.\n\n{environment()}"
    if path.with_name("NOTES.md").exists():
        text += "* remarks: [NOTES.md](NOTES.md)\n"
    for exp_dir in exp_dirs:
        text += f"\n## {exp_dir.name}\n\n{history(exp_dir)}"
        text += f"{summary(exp_dir, shown)}{draw_figures(exp_dir, folder)}"
        files.write_text(exp_dir / "report" / "tables.md", all_tables(exp_dir, shown))
    if len(shown) > 1:
        text += f"\n## All experiments\n\n{compared(shown)}{draw_sizes(shown, folder)}"
    files.write_text(path, f"{text}\n## Names\n\n{glossary(keys)}")


def scored_experiments(folder: Path) -> list[Path]:
    """The experiments of a folder that have scores, without those that stage 3 moved aside."""
    found = {path.parents[2] for path in folder.glob("*/decode_*/*/score.json")}
    return sorted(path for path in found if not re.search(r"\.\d{8}-\d{6}$", path.name))


def environment() -> str:
    """Date, versions of packages, and the git commit, as a list in Markdown."""
    rows = dict(environment_rows())
    versions = ", ".join(f"{n} `{v}`" for n, v in rows.items() if n not in ("date", "git"))
    return f"* date: `{rows['date']}`\n* git: `{rows['git']}`\n* versions: {versions}\n"


def history(exp_dir: Path) -> str:
    """The commands of an experiment with their git commits, and the minutes of each stage.

    The minutes are those of a stage's longest run: later runs find their work done.
    """
    found = commands(exp_dir)
    if not found:
        return ""
    lines = [f"* command: `{command}` (git: `{commit}`)\n" for command, commit in found]
    longest = stage_times(exp_dir)
    cells = [f"{stage}: {seconds / 60:.1f}" for stage, seconds in sorted(longest.items())]
    minutes = f"* minutes of stage {', '.join(cells)}; {sum(longest.values()) / 60:.1f} in all\n\n"
    return "".join(lines) + minutes


# ---- parts of RESULTS.md ------------------------------------------------------------------------


def summary(exp_dir: Path, shown: list[Path]) -> str:
    """The main error rates of an experiment: ESPnet's table, and a table by noise and SNR."""
    scores = read_scores(exp_dir)
    main = {key: score for key, score in scores.items() if shows_own_video(key[0])} or scores
    note = ""
    if len(main) > MOST_ROWS:
        kept = few_sets({name for name, _ in main})
        note = f"Clean, and the lowest SNR of each noise; all {len(scores)} rows are in tables.md. "
        main = {key: score for key, score in main.items() if key[0] in kept}
    text = f"{note}Words, rates in per cent; {rules(exp_dir)}. Everything else:"
    text += f" `exp/{exp_dir.name}/report/` (`index.html`, `tables.md`).\n\n"
    text += f"{markdown(details(main))}\nWord error rate in per cent with its 95 % interval"
    audio_dir = audio_alone(exp_dir, shown)
    if audio_dir:
        text += ", and the gain over audio alone at the same audio rate"
        text += f" (`{audio_dir.name}`): +73 % means that 73 % of its errors are gone"
    text += ". It is about other test speakers, not about another training run.\n\n"
    text += markdown(in_noise(exp_dir, audio_dir))
    checks = in_noise(exp_dir, None, video=True)
    if len(checks) > 1:
        text += "\nThe same with another video: zeroed, or that of another utterance.\n\n"
        text += markdown(checks)
    return text


def few_sets(names: set[str]) -> set[str]:
    """The clean sets, and of each noise that of the lowest SNR."""
    kept = {}
    for name in order_sets(names):  # of falling SNR
        parsed = SetName.parse(name)
        kept[parsed.base, parsed.noise] = name
    return set(kept.values())


def rules(exp_dir: Path) -> str:
    """By which rules the texts of an experiment were compared."""
    found: dict[str, None] = {}
    for scores in read_score_files(exp_dir).values():
        kept = scores.get("rules", {})
        found[str(Rules(**kept | {"remove": tuple(kept.get("remove", ()))}))] = None
    return " or ".join(found)


def compared(shown: list[Path]) -> str:
    """Tables of all experiments on the clean set and on one in noise."""
    sets = [{name for name, _ in read_scores(exp_dir)} for exp_dir in shown]
    own = [name for name in order_sets(set.union(*sets)) if shows_own_video(name)]
    count = {name: sum(name in names for names in sets) for name in own}
    noisy = [name for name in own if SetName.parse(name).snr is not None]
    noisy.sort(key=lambda name: (-count[name], abs(SetName.parse(name).snr or 0)))
    text = "Word error rate in per cent with its 95 % interval; M: million parameters."
    text += " `mome compare A B` tests differences.\n\n"
    for name in [*own[:1], *noisy[:1]]:
        rows = systems(shown, name)
        text += markdown(rows[: MOST_SYSTEMS + 1])
        if len(rows) > MOST_SYSTEMS + 1:
            text += f"\n{len(rows) - 1 - MOST_SYSTEMS} more experiments are in tables.md.\n"
        text += "\n"
    return text


def glossary(keys: list[tuple[str, str]]) -> str:
    """The scales and sets of some scores in words."""
    lines = [f"* `{s}`: {describe_scale(s)}\n" for s in order_scales({scale for _, scale in keys})]
    lines += [f"* `{n}`: {describe_set(n)}\n" for n in order_sets({name for name, _ in keys})]
    terms = [f"* {name}: {TERMS[name]}\n" for name in ("Snt, Wrd", "95 % interval")]
    return "".join([*terms, *lines])


def all_tables(exp_dir: Path, shown: list[Path]) -> str:
    """The tables of an experiment that are too long for RESULTS.md, in Markdown."""
    text = f"# {exp_dir.name}\n\n{history(exp_dir)}Rates are in per cent; {rules(exp_dir)}.\n\n"
    for unit, title in UNITS.items():
        scores = read_scores(exp_dir, unit)
        if scores:
            text += f"## {title}\n\n{markdown(details(scores))}\n"
    text += f"## Speakers\n\n{markdown(speakers(exp_dir))}\n"
    if len(shown) > 1:
        rows = comparison({other.name: read_scores(other) for other in shown})
        text += f"## All experiments\n\n{markdown(rows)}\n{markdown(costs(shown))}"
    return text


# ---- figures ------------------------------------------------------------------------------------


def draw_figures(exp_dir: Path, folder: Path) -> str:
    """Draw error rates by scale and, after a training run, its curves; returns Markdown links."""
    prefix = f"{exp_dir.name}_"
    scores = read_scores(exp_dir)
    rates: dict[str, dict[str, float]] = {}
    for name in order_sets({name for name, _ in scores}):
        scales = order_scales({s for n, s in scores if n == name})
        rates[name] = {s: scores[name, s].error_rate for s in scales}
    plots.error_by_scale(rates, folder / f"{prefix}wer.png")
    links = f"\n![Word error rate by scale](figures/{prefix}wer.png)\n"
    metrics = read_metrics(exp_dir)
    if metrics:
        floor = read_json(exp_dir / "text_floor.json").get("nats_a_token")
        plots.training_curves(metrics, folder / f"{prefix}loss.png", floor)
        links += f"![Loss](figures/{prefix}loss.png)\n"
    return links


def draw_sizes(exp_dirs: list[Path], folder: Path) -> str:
    """Draw error rates in clean audio against active parameters; returns a Markdown link.

    Experiments of unknown size are left out; without two of known size there is no figure.
    """
    experiments = {}
    for exp_dir in exp_dirs:
        size = read_json(exp_dir / "size.json")
        if "active" in size:
            scores = read_scores(exp_dir)
            clean = order_sets({name for name, _ in scores})[0]
            scales = order_scales({s for n, s in scores if n == clean})
            rates = {s: scores[clean, s].error_rate for s in scales}
            experiments[exp_dir.name] = size["active"], rates
    if len(experiments) < 2:
        return ""
    plots.error_by_size(experiments, folder / "size.png")
    return "![Word error rate by active parameters](figures/size.png)\n"

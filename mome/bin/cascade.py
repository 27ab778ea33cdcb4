"""Cascade: mome cascade exp/<tag> --valid valid --sets test test_babble_0

A cascade decodes at a cheap scale, and again at a finer one where the mean log-probability of the
tokens is below a threshold. This chooses the threshold on a validation set, keeps it in the model's
folder for `mome transcribe --cascade`, and shows what the cascade gives. It decodes nothing: the
sets must have been decoded at both scales, such as by

    mome decode exp/<tag> --sets valid test --scales a16_v5 a4_v2

The threshold is the lowest one that keeps --gain (0.8) of the word errors that the finer scale
saves on the validation set, and for which every higher one does so, too. A cascade pays while it is
faster than the finer scale alone. In noise, scores fall and more is decoded twice: at worst all,
which costs both scales and gives the texts of the finer one.

    WER %     with its 95 % interval
    tokens/s  of sound and lips that the LLM reads in a second of media
    s a clip  of decoding, as stage 4 took it; for cascade and oracle, computed from these
    twice %   clips that are decoded twice
    oracle    for each clip the scale with fewer errors, the cheap one when they are equal: a score
              that knew the truth would give this

On the validation set, each speaker gets the threshold of the others (held out), since the clips
that the threshold was chosen for say too much good of it.
"""

import argparse
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mome import checkpoint, config, files
from mome.bin import Parser, run
from mome.checkpoint import find_model
from mome.compression import Scale, scales_of
from mome.scoring import cascade, paired, statistics, tables
from mome.scoring.cascade import Decoded, System
from mome.transcription.cascade import NEVER, Cascade, widest, write

log = logging.getLogger(__name__)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("exp_dir", type=Path, help="exp/<tag>, trained by stage 3")
    parser.add_argument("--valid", default="valid", help="set to choose the threshold on")
    parser.add_argument("--sets", nargs="*", help="default: all others decoded with scores")
    parser.add_argument(
        "--scales", nargs=2, metavar=("CHEAP", "FINE"), help="default: cheapest and finest trained"
    )
    parser.add_argument("--gain", type=float, default=0.8, help="share of the gain to keep")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data directories of sets")
    parser.add_argument("--model", default="best", help="best, average or checkpoints/step_<n>")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args(argv)
    if not 0 < args.gain <= 1:
        parser.error("--gain must be above 0 and at most 1")
    return args


def main(argv: list[str] | None = None) -> None:
    """Choose the threshold, keep it, and print the tables."""
    args = parse(argv)
    model_dir = find_model(args.exp_dir, args.model)
    cfg = config.load(args.exp_dir / "config.yaml")
    trained = scales_of(cfg.model.task, cfg.model.audio_rates, cfg.model.video_rates)
    scales = Cascade.parse(",".join(args.scales)) if args.scales else widest(trained)
    weights = files.digest(model_dir / checkpoint.FILE)

    cheap, fine = read_all(args, args.valid, scales.scales, weights)
    chosen = Cascade(scales.scales, cascade.threshold_of(cheap, fine, args.gain))
    on_valid = cascade.held_out(cheap, fine, args.gain) or cascade.cascaded(
        [cheap, fine], chosen.threshold
    )
    about = {"set": args.valid, "gain": args.gain, "search": cheap.record["search"]}
    path = write(model_dir, chosen, about)
    report_threshold(chosen, cheap, fine, path)
    report_cost(on_valid, cascade.fixed(fine))

    found = list(systems(args, [cheap, fine], on_valid))
    rows = comparisons(on_valid, map(cascade.fixed, (cheap, fine)))
    for name in set_names(args, scales):
        steps = read_all(args, name, scales.scales, weights)
        on_set = cascade.cascaded(steps, chosen.threshold)
        found += systems(args, steps, on_set)
        rows += comparisons(on_set, map(cascade.fixed, steps))
    print(tables.plain(cascade.as_table(found)))
    print(f"\nA: the cascade; B: the scale\n\n{tables.plain(paired.as_table(rows))}")
    if args.json:
        threshold = None if chosen.threshold == NEVER else chosen.threshold
        files.write_json(
            args.json,
            {"cascade": str(chosen), "threshold": threshold, "rows": list(map(as_dict, found))},
        )


def read_all(
    args: argparse.Namespace, name: str, scales: Iterable[Scale], weights: str
) -> list[Decoded]:
    """A set at the scales of the cascade; ValueError when the decodings do not fit together."""
    found = [cascade.read(args.exp_dir, name, scale, args.data, True) for scale in scales]
    for decoded in found:
        folder = args.exp_dir / f"decode_{decoded.scale}" / name
        if decoded.record["model"] != weights:
            raise ValueError(
                f"{folder} was decoded with other weights than those of model {args.model}: run"
                f" mome decode {args.exp_dir} --sets {name} --model {args.model}"
            )
        if decoded.record["search"] != found[0].record["search"]:
            raise ValueError(
                f"{folder} was decoded with other settings than {found[0].scale}: run mome decode"
                f" {args.exp_dir} --sets {name} --scales {' '.join(str(d.scale) for d in found)}"
            )
    return found


def set_names(args: argparse.Namespace, scales: Cascade) -> list[str]:
    """The sets to show beside the validation set."""
    if args.sets is not None:
        return [name for name in args.sets if name != args.valid]
    found = [
        {path.parent.name for path in args.exp_dir.glob(f"decode_{scale}/*/score")}
        for scale in scales.scales
    ]
    names = set.intersection(*found) - {args.valid}
    return [name for name in tables.order_sets(names) if tables.shows_own_video(name)]


def systems(args: argparse.Namespace, steps: list[Decoded], cascaded: System) -> list[System]:
    """Every scale at which the set was decoded, the cheapest first, then cascade and oracle."""
    name, own = steps[0].set_name, {decoded.scale: decoded for decoded in steps}
    folders = args.exp_dir.glob(f"decode_*/{name}/text")
    scales = {Scale.parse(path.parents[1].name.removeprefix("decode_")) for path in folders}
    found = [
        cascade.fixed(own.get(scale) or cascade.read(args.exp_dir, name, scale, args.data))
        for scale in sorted(scales, key=lambda scale: scale.tokens_per_second)
    ]
    return [*found, cascaded, cascade.oracle(steps)]


def comparisons(cascaded: System, others: Iterable[System]) -> list[paired.Row]:
    """The cascade against scales by themselves on the same set."""
    return [
        paired.Row(cascaded.set_name, s.name, statistics.compare(cascaded.score, s.score))
        for s in others
    ]


def report_threshold(chosen: Cascade, cheap: Decoded, fine: Decoded, path: Path) -> None:
    """Say what was chosen, and warn when it rests on little."""
    errors = [sum(decoded.errors.values()) for decoded in (cheap, fine)]
    clips = f"{len(cheap.aligned)} clips of {cheap.set_name}"
    if chosen.threshold == NEVER:
        log.warning(
            f"{fine.scale} has no fewer errors than {cheap.scale} on the {clips}"
            f" ({errors[1]} and {errors[0]}): this cascade never decodes twice"
        )
    log.info(f"threshold {chosen.threshold:.4g} for {chosen}, from {clips}, kept in {path}")


def report_cost(cascaded: System, fine: System) -> None:
    """Warn when a cascade takes as long as the finer scale alone, so that it does not pay."""
    if cascaded.seconds >= fine.seconds and cascaded.twice:
        log.warning(
            f"on {fine.set_name}, {100 * cascaded.twice:.0f} % of the clips are decoded twice:"
            f" {cascaded.seconds:.3f} s a clip, where {fine.name} alone takes {fine.seconds:.3f} s."
            " A lower --gain or the finer scale alone is faster"
        )


def as_dict(system: System) -> dict[str, Any]:
    """A row of the table for a file."""
    interval = statistics.error_rate_interval(system.score)
    return {
        "set": system.set_name,
        "system": system.name,
        "wer": system.score.error_rate,
        "interval": [interval.low, interval.high] if interval else None,
        "tokens_per_s": system.tokens_per_s,
        "seconds": system.seconds,
        "twice": system.twice,
    }


if __name__ == "__main__":
    run(main)

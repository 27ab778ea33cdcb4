"""Reading what stages 1 to 5 left of an experiment."""

from functools import cache
from pathlib import Path

import yaml
from espnet2.fileio.read_text import read_2columns_text

from mome.data.set_name import SetName
from mome.scoring import sets, tables, wer
from mome.scoring.page.scored import Scored


def read(exp_dir: Path, data_dir: Path, mouths_dir: Path) -> Scored:
    """Read an experiment; alignments are read when they are asked for.

    Args:
        data_dir: the data directories of the test sets.
        mouths_dir: mouth crops of the test sets.

    Raises FileNotFoundError when there are no scores.
    """
    scores = tables.read_scores(exp_dir)
    files = tables.read_score_files(exp_dir)
    names = tables.order_sets({name for name, _ in scores})
    heard = {name: str(SetName.parse(name).with_video("own")) for name in names}
    bases = sorted({SetName.parse(name).base for name in names})
    config_path = exp_dir / "config.yaml"

    @cache
    def align(name: str, scale: str) -> wer.Score:
        rules = files[name, scale].get("rules", {})
        folder = exp_dir / f"decode_{scale}" / name / "score_wer"
        return sets.read_aligned(folder, rules.get("alignment", "levenshtein"))

    intervals = tables.read_intervals(exp_dir)
    return Scored(
        exp_dir=exp_dir,
        scores=scores,
        intervals={key: (interval.low, interval.high) for key, interval in intervals.items()},
        sets=names,
        scales=tables.order_scales({scale for _, scale in scores}),
        files=files,
        metrics=tables.read_metrics(exp_dir),
        floor=tables.read_json(exp_dir / "text_floor.json").get("nats_a_token"),
        size=tables.read_json(exp_dir / "size.json"),
        config=yaml.safe_load(config_path.read_text()) if config_path.exists() else {},
        mouths={base: table(mouths_dir / base / "mouths.scp") for base in bases},
        sounds={name: table(data_dir / folder / "wav.scp") for name, folder in heard.items()},
        data_dir=data_dir,
        mouths_dir=mouths_dir,
        align=align,
    )


def table(path: Path) -> dict[str, str]:
    """A table of Kaldi; empty if it is not there."""
    return read_2columns_text(path) if path.exists() else {}

"""Count parameters: python -m mome.bin.count --config conf/train_mome_layer.yaml [--json]

Prints the parameters of the adapters that a token uses at one scale (active), of all adapters
(resident), and of the projectors. Nothing is downloaded: the shapes of the LLMs and encoders that
the configurations name are known; those of a folder are read from its config.json.
`--tuning conf/tuning/experts.txt` counts each experiment of a list of changes to the configuration.
"""

import json

from mome import config
from mome.bin import Parser, run
from mome.scoring import cost, tables
from mome.training import settings


def main(argv: list[str] | None = None) -> None:
    """Print the parameters of a configuration, or of each experiment of a tuning list."""
    parser = Parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML file, such as conf/train_plain.yaml")
    parser.add_argument("--tuning", help="list of experiments, such as conf/tuning/experts.txt")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    args = parser.parse_args(argv)
    if args.tuning:
        print_experiments(args.config, args.overrides, args.tuning, args.json)
        return
    counts = cost.count_parameters(config.load(args.config, args.overrides))
    if args.json:
        print(json.dumps(counts))
        return
    for name, number in counts.items():
        print(f"{name:12} {number:>13,}  ({number / 1e6:.3f}M)")


def print_experiments(path: str, overrides: list[str], tuning: str, as_json: bool) -> None:
    """Print a row for each experiment of a list, or JSON: its name -> its counts."""
    counts = {
        name: cost.count_parameters(config.load(path, overrides + changes))
        for name, changes in settings.experiments({"tuning": tuning})
    }
    if as_json:
        print(json.dumps(counts))
        return
    rows = [["parameters", *tables.SIZES]]
    for name, sizes in counts.items():
        rows.append([name, *(f"{sizes[key] / 1e6:.3f}M" for key in tables.SIZES)])
    print(tables.plain(rows))


if __name__ == "__main__":
    run(main)

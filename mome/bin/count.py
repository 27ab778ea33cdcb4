"""Count parameters: python -m mome.bin.count --config conf/train_mome_layer.yaml [--json]

Prints the parameters of the adapters that a token uses at one scale (active), of all adapters
(resident), and of the projectors. Nothing is downloaded: the shapes of the LLMs and encoders that
the configurations name are known; those of a folder are read from its config.json.
"""

import json

from mome import config
from mome.bin import Parser, run
from mome.scoring import cost


def main(argv: list[str] | None = None) -> None:
    """Print the parameters of a configuration."""
    parser = Parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML file, such as conf/train_plain.yaml")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    args = parser.parse_args(argv)
    counts = cost.count_parameters(config.load(args.config, args.overrides))
    if args.json:
        print(json.dumps(counts))
        return
    for name, number in counts.items():
        print(f"{name:12} {number:>13,}  ({number / 1e6:.3f}M)")


if __name__ == "__main__":
    run(main)

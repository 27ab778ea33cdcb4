"""Show a configuration: python -m mome.bin.config --config conf/x.yaml [key=value ...] [--get KEY]

Without `--get`, it prints every setting of the file, defaults and overrides included, as YAML. With
`--get model.llm`, it prints the value of that setting; the items of a list are separated by spaces.
The file may also stand first, without `--config`.
"""

from omegaconf import OmegaConf

from mome import config
from mome.bin import Parser, run


def main(argv: list[str] | None = None) -> None:
    """Print a configuration or one value of it."""
    parser = Parser(__doc__)
    parser.add_argument("--config", help="YAML file, such as conf/train_nano.yaml")
    parser.add_argument("overrides", nargs="*", help="section.key=value, such as train.lr=5e-4")
    parser.add_argument("--get", metavar="KEY", help="print this setting only, such as model.llm")
    args = parser.parse_args(argv)
    if args.config is None and args.overrides and "=" not in args.overrides[0]:
        args.config = args.overrides.pop(0)
    if args.config is None:
        parser.error("no configuration was given: --config conf/x.yaml")
    values = config.as_dict(config.load(args.config, args.overrides))
    if args.get is None:
        print(OmegaConf.to_yaml(values), end="")
        return
    value = values
    for part in args.get.split("."):
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"{args.config}: no setting called {args.get}")
        value = value[part]
    print(*value if isinstance(value, list) else [value])


if __name__ == "__main__":
    run(main)

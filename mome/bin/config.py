"""Show a configuration: python -m mome.bin.config conf/x.yaml [key=value ...] [--get model.llm]

Without `--get`, every setting of the file, defaults and overrides included, as YAML. With it, the
value of one, a list as words: this is how the stages of a recipe read it.
"""

from omegaconf import OmegaConf

from mome import config
from mome.bin import Parser, run


def main(argv: list[str] | None = None) -> None:
    """Print a configuration or one value of it."""
    parser = Parser(__doc__)
    parser.add_argument("config", help="YAML file")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    parser.add_argument("--get", metavar="KEY", help="section.key to print alone")
    args = parser.parse_args(argv)
    cfg = config.load(args.config, args.overrides)
    if args.get is None:
        print(OmegaConf.to_yaml(config.as_dict(cfg)), end="")
        return
    value = config.as_dict(cfg)
    for part in args.get.split("."):
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"{args.config} has no setting called {args.get}")
        value = value[part]
    print(*value if isinstance(value, list) else [value])


if __name__ == "__main__":
    run(main)

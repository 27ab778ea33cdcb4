"""Check the settings of a recipe: python -m mome.bin.check_settings stage=0 train_config=x.yaml ...

avsr.sh runs this once before stage 0, with every setting of the recipe as name=value. For a wrong
setting it prints one line and ends with status 2. Otherwise it prints what the stages read, such as
the names of the test sets and the values of the train config, as assignments that bash evaluates.
"""

from pathlib import Path

from mome.bin import Parser, run
from mome.training import settings


def main(argv: list[str] | None = None) -> None:
    """Print the assignments."""
    parser = Parser(__doc__)
    parser.add_argument("settings", nargs="+", metavar="name=value", help="every setting")
    parser.add_argument("--recipe", default="run.sh", help="how the recipe was started, for errors")
    parser.add_argument("--recipe_dir", type=Path, default=Path(), help="folder of the recipe")
    args = parser.parse_args(argv)
    values = dict(text.split("=", 1) for text in args.settings)
    try:
        print(settings.assignments(settings.check(values, args.recipe_dir)), end="")
    except (ValueError, OSError) as error:
        parser.exit(2, f"{args.recipe}: {error}\n")


if __name__ == "__main__":
    run(main)

"""Make a recipe for a corpus of your own: mome new_recipe my_corpus --root /data/my_corpus

Writes egs/my_corpus/avsr1: run.sh and its settings, configs, a README.md, and links to the stages
that all recipes share. The corpus is a folder of media and transcripts (mome/corpora/folder.py says
how they may lie). Recipes belong to a clone of the repository; the installed package has none.
"""

import re
import shlex
import shutil
from pathlib import Path

from mome import corpora
from mome.bin import Parser, run

SHARED = ("avsr.sh", "cmd.sh", "path.sh", "utils")  # linked to, as are the files of conf/
TEMPLATE = "TEMPLATE/avsr1"
FILLED = "TEMPLATE/new_recipe"  # copied, with the name and the root of the corpus


def main(argv: list[str] | None = None) -> None:
    """Parse the options, write the recipe and say what to run."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("name", help="of the corpus and the recipe: lower-case letters, digits and _")
    add("--root", type=Path, help="folder of the corpus; without it, ./run.sh --root gives it")
    add("--egs", type=Path, help="folder of the recipes (default: that of this clone)")
    args = parser.parse_args(argv)
    recipe = make_recipe(args.name, args.root, find_egs(args.egs))
    print(
        f"{recipe} is ready. Next:\n"
        f"  cd {shlex.quote(str(recipe))}\n"
        f"  ./run.sh --train_config conf/train_nano.yaml --work_dir nano"
        f"{'' if args.root else ' --root CORPUS'}   # all stages with baby models, in minutes\n"
        f"  ./run.sh --avhubert large_vox_iter5.pt{'' if args.root else ' --root CORPUS'}"
        "   # README.md says where this file comes from"
    )


def find_egs(given: Path | None) -> Path:
    """The folder egs of the clone that holds this package, or of the working folder.

    Raises FileNotFoundError that says what to do where there is none.
    """
    places = [given] if given else [Path(__file__).parents[2] / "egs", Path("egs")]
    for egs in places:
        if (egs / FILLED).is_dir() and (egs / TEMPLATE).is_dir():
            return egs
    raise FileNotFoundError(
        f"{places[0]} has no {TEMPLATE}: recipes are part of the repository, not of the installed"
        " package. Clone it, run its tools/install.sh, and then this command in the clone (or give"
        " --egs CLONE/egs)"
    )


def make_recipe(name: str, root: Path | None, egs: Path) -> Path:
    """Write egs/<name>/avsr1, whole or not at all, and return it.

    Raises ValueError for a name that cannot be used and FileNotFoundError for a root that is not a
    folder.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(
            f"'{name}' cannot be the name of a recipe: give lower-case letters, digits and _, such"
            " as my_corpus"
        )
    if (egs / name).exists() or name in corpora.names():
        taken = f"{egs / name} exists" if (egs / name).exists() else f"a corpus is called {name}"
        raise ValueError(f"{taken}: give another name, or remove it")
    if root is not None and not root.is_dir():
        raise FileNotFoundError(f"--root {root} is not a folder: give the folder of the corpus")
    tmp = egs / f".{name}.tmp"
    shutil.rmtree(tmp, ignore_errors=True)
    try:
        write_files(egs, tmp / "avsr1", name, root)
        tmp.rename(egs / name)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    return egs / name / "avsr1"


def write_files(egs: Path, recipe: Path, name: str, root: Path | None) -> None:
    """The links to what recipes share, and the files that are filled in."""
    (recipe / "conf").mkdir(parents=True)
    for file in SHARED:
        (recipe / file).symlink_to(f"../../{TEMPLATE}/{file}")
    for path in sorted((egs / TEMPLATE / "conf").iterdir()):
        (recipe / "conf" / path.name).symlink_to(f"../../../{TEMPLATE}/conf/{path.name}")
    values = {"@NAME@": name, "@ROOT@": shlex.quote(str(root.resolve())) if root else ""}
    for path in sorted((egs / FILLED).rglob("*")):
        if path.is_file():
            out = recipe / path.relative_to(egs / FILLED)
            out.parent.mkdir(exist_ok=True)
            text = path.read_text(encoding="utf-8")
            out.write_text(re.sub("@[A-Z]+@", lambda m: values[m[0]], text), encoding="utf-8")
            out.chmod(path.stat().st_mode)


if __name__ == "__main__":
    run(main)

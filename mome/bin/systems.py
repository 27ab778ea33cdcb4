"""Systems: mome systems exp/ev_*        systems that were trained with several seeds, side by side

An experiment whose name ends in _seed<number> is a run of the system that stands before; stage 5
must have scored it. Prints, for each set and scale, the mean word error rate of each system and
those of its runs; then each system's difference from the first one, with a 95 % interval and p.
They are about other speakers and other seeds (mome/scoring/seeds.py). Figures of runs may be kept
in a small file and be given again, beside new ones:

    mome systems counts.tsv exp/ev_* --counts counts.tsv
"""

from pathlib import Path

from mome import files
from mome.bin import Parser, run
from mome.scoring import paired, seeds, tables
from mome.scoring.seeds import Cell, Run


def main(argv: list[str] | None = None) -> None:
    """Print or write the tables."""
    parser = Parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="experiments, or files of --counts")
    parser.add_argument("--first", help="the system that others are compared with")
    parser.add_argument("--counts", type=Path, help="file to keep words and errors of the runs in")
    parser.add_argument("--out", type=Path, help="file for the tables, Markdown")
    args = parser.parse_args(argv)
    for path in args.runs:
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}")
    folders = [path for path in args.runs if path.is_dir()]
    runs = [kept for path in args.runs if path not in folders for kept in seeds.read_counts(path)]
    runs += [seeds.read_experiment(path) for path in folders]
    seeds.check_settings(folders)
    systems = seeds.merge(runs)
    first = args.first or next(iter(systems))
    if first not in systems:
        parser.error(f"--first {first}: there are {', '.join(systems)}")
    if args.counts:
        seeds.write_counts(args.counts, runs)
    text = report(systems, first)
    if args.out:
        files.write_text(args.out, text)
    else:
        print(text, end="")


def report(systems: dict[str, list[Run]], first: str) -> str:
    """Both tables and what a reader needs to know."""
    cells = ordered(next(iter(systems.values()))[0].counts)
    count = f"{len(systems) - 1} differences a column"
    lines = [
        "Word error rates in per cent: the mean over the runs, and each run.",
        "",
        tables.markdown(rate_rows(systems, cells)),
        f"Difference from {first}, with its 95 % interval and p. Below 0: fewer errors. It is about"
        f" other speakers and other seeds; of {count} of equal systems, one in twenty has p < 0.05"
        " by chance.",
        "",
        tables.markdown(difference_rows(systems, first, cells)),
    ]
    alone = [name for name, runs in systems.items() if len(runs) < 2]
    if alone:
        lines += ["", f"One run alone, so about this seed only: {', '.join(alone)}."]
    return "\n".join(lines) + "\n"


def ordered(counts: dict[Cell, dict]) -> list[Cell]:
    """Sets and scales in the order of all tables."""
    names = tables.order_sets({name for name, _ in counts})
    scales = tables.order_scales({scale for _, scale in counts})
    return sorted(counts, key=lambda cell: (names.index(cell[0]), scales.index(cell[1])))


def head(cells: list[Cell], *begin: str) -> list[str]:
    return [*begin, *(f"{name}, {scale}" for name, scale in cells), "all"]


def rate_rows(systems: dict[str, list[Run]], cells: list[Cell]) -> list[list[str]]:
    """A row for each system: `4.4 (3.8, 5.1)` for each set and scale."""
    rows = [head(cells, "system", "runs")]
    for name, runs in systems.items():
        row = [name, str(len(runs))]
        for together in [*([cell] for cell in cells), cells]:
            found_S = seeds.rates(*seeds.errors_of(runs, together))
            row.append(f"{found_S.mean():.1f} ({', '.join(f'{r:.1f}' for r in found_S)})")
        rows.append(row)
    return rows


def difference_rows(
    systems: dict[str, list[Run]], first: str, cells: list[Cell]
) -> list[list[str]]:
    """A row for each other system: `+1.2 [-0.3, 2.7] 0.11` for each set and scale."""
    rows = [head(cells, "system")]
    for name, runs in systems.items():
        if name == first:
            continue
        row = [name]
        for together in [*([cell] for cell in cells), cells]:
            base_SK, words_K = seeds.errors_of(systems[first], together)
            found = seeds.difference(seeds.errors_of(runs, together)[0], base_SK, words_K)
            interval = f"[{found.low:+.1f}, {found.high:+.1f}]"
            row.append(f"{found.value:+.1f} {interval} {paired.p_value(found.p)}")
        rows.append(row)
    return rows


if __name__ == "__main__":
    run(main)

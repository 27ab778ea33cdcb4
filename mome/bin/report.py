"""Report: python -m mome.bin.report exp/<tag> [--compare_with exp] [--results RESULTS.md]

Stage 5 of a recipe. Writes RESULTS.md, a summary (date, versions, commands, error rates in ESPnet's
columns, a table by noise and SNR with 95 % intervals, names) with its figures in figures/; and in
exp/<tag>/report/, index.html (a page with figures and examples) and tables.md (all tables). Prints
the table of word error rates. `--compare_with exp` adds the other scored experiments of a folder,
and the gain over audio alone where one of them reads audio alone. A NOTES.md in the folder of
RESULTS.md, written by hand, is linked. `-` is a value that was not measured.
"""

from pathlib import Path

from mome.bin import Parser, run
from mome.scoring import report, tables
from mome.scoring.page import reading
from mome.scoring.page.document import write_page


def main(argv: list[str] | None = None) -> None:
    """Write RESULTS.md and the pages; print the tables."""
    parser = Parser(__doc__)
    parser.add_argument("exp_dirs", nargs="+", type=Path, help="exp/<tag>, scored by stage 5")
    parser.add_argument(
        "--compare_with",
        "--beside",
        type=Path,
        metavar="EXP",
        help="folder of experiments to compare with (--beside is the option's old name)",
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="data directories of sets")
    parser.add_argument(
        "--mouths", type=Path, default=Path("dump/mouths"), help="mouth crops of sets"
    )
    parser.add_argument("--results", type=Path, default=Path("RESULTS.md"), help="file to write")
    args = parser.parse_args(argv)
    others = report.scored_experiments(args.compare_with) if args.compare_with else []
    shown = [
        reading.read(exp_dir, args.data, args.mouths)
        for exp_dir in dict.fromkeys([*args.exp_dirs, *others])
    ]
    pages = [write_page(exp, shown) for exp in shown[: len(set(args.exp_dirs))]]
    report.write_results(args.results, args.exp_dirs, others)
    for exp_dir in args.exp_dirs:
        print(f"\n{exp_dir.name}\n{tables.plain(tables.matrix(tables.read_scores(exp_dir)))}")
    print(f"\nreport   {', '.join(str(p.resolve()) for p in pages)}")
    print(f"results  {args.results.resolve()}")


if __name__ == "__main__":
    run(main)

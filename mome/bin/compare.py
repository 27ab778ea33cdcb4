"""Compare: mome compare exp/one exp/two              all sets and scales that both have
         mome compare exp/one/decode_a4_v2 exp/two/decode_a4      one scale of each, set by set
         mome compare hyp_one hyp_two --ref data/test/text        two Kaldi texts

Compares the word error rates of two systems on the same utterances. Folders must have been scored
(stage 5 of a recipe, or mome score). For each set: both error rates and their difference, with
95 % intervals by bootstrap over speakers, the p of that bootstrap, and the p of NIST's
matched-pairs sentence-segment word error test (MAPSSWE, as in sc_stats). mome/scoring/statistics.py
explains them.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from mome import files
from mome.bin import Parser, run
from mome.scoring import paired, tables
from mome.scoring.align import ALIGNMENTS
from mome.scoring.statistics import LEAST_SPEAKERS, least_p
from mome.scoring.texts import Rules

LEVEL = 0.05


def main(argv: list[str] | None = None) -> None:
    """Compare two systems; print a table."""
    parser = Parser(__doc__)
    parser.add_argument("first", type=Path, metavar="A", help="folder, or Kaldi text with --ref")
    parser.add_argument("second", type=Path, metavar="B", help="likewise")
    parser.add_argument("--ref", type=Path, help="Kaldi text of the references of two texts")
    parser.add_argument("--utt2spk", type=Path, help="speakers of two texts")
    parser.add_argument(
        "--alignment", choices=ALIGNMENTS, default=ALIGNMENTS[0], help="of two texts"
    )
    parser.add_argument("--json", type=Path, help="file for the figures; - for standard output")
    args = parser.parse_args(argv)
    for path in (args.first, args.second):
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}")
        if path.is_file() and not args.ref:
            parser.error(f"{path} is a text: give its references with --ref")
        if path.is_dir() and args.ref:
            parser.error(f"{path} is a folder: --ref is for two texts")
    if args.ref:
        rules = Rules(args.alignment)
        pair = paired.compare_texts(args.ref, args.first, args.second, args.utt2spk, rules)
        rows, alone = [paired.Row("", "", pair)], list[str]()
    else:
        rows, alone = paired.compare_folders(args.first, args.second)
    text = report(rows, alone, args.first, args.second)
    if args.json:
        found = {
            "A": str(args.first),
            "B": str(args.second),
            "comparisons": [
                {"set": row.name, "scale": row.scale} | asdict(row.comparison) for row in rows
            ],
            "left_out": alone,
        }
        if str(args.json) == "-":
            json.dump(found, sys.stdout, indent=1)
            print()
            return
        files.write_json(args.json, found)
    print(text)


def report(rows: list[paired.Row], alone: list[str], first: Path, second: Path) -> str:
    """The table, and what a reader needs to know to judge it."""
    lines = [f"A  {first}", f"B  {second}", "", tables.plain(paired.as_table(rows)), ""]
    intervals = [row.comparison.interval for row in rows if row.comparison.interval]
    lines.append("[low, high] is a 95 % interval. A - B below 0: A makes fewer errors.")
    for drawn in sorted({i.drawn for i in intervals}):
        num = min(i.num_drawn for i in intervals if i.drawn == drawn)
        line = f"Intervals and p are by bootstrap over {num} {drawn}"
        if drawn == "utterances":
            line += f", since there are fewer than {LEAST_SPEAKERS} speakers, and about these alone"
        lines.append(f"{line}; the least p of so many is {paired.p_value(least_p(num))}.")
    if len(rows) > 1:
        expected = LEVEL * len(rows)
        lines.append(
            f"Of {len(rows)} comparisons of equal systems, {expected:.1f} would have p < {LEVEL}"
            " by chance."
        )
    if any(row.comparison.segments.p is None for row in rows):
        lines.append("-: MAPSSWE needs differences that vary between segments.")
    return "\n".join([*lines, *alone])


if __name__ == "__main__":
    run(main)

"""Score: python -m mome.bin.score --ref data/test/text --hyp hyp/text --out dir
       python -m mome.bin.score exp/<tag> --data data

Writes <out>/score_wer/{ref.trn,hyp.trn,result.txt}, score_cer/ and, with --token_model, score_ter/,
in sclite's form, and score.json with 95 % intervals. The second form, stage 5 of a recipe, scores
every decode_<scale>/<set>/text of an experiment. Where NIST sclite is installed, it runs too, and
score_wer/sclite.txt is its output.

--alignment levenshtein counts the fewest errors. With --alignment sclite, the numbers of correct
words, substitutions, deletions and insertions are those of NIST sclite, which prefers an insertion
and a deletion to two substitutions: as many errors or some more.
"""

from pathlib import Path

from mome.bin import Parser, run
from mome.scoring import sets, statistics
from mome.scoring.align import ALIGNMENTS
from mome.scoring.texts import Rules


def main(argv: list[str] | None = None) -> None:
    """Score one text or a whole experiment."""
    parser = Parser(__doc__)
    parser.add_argument("exp_dir", nargs="?", type=Path, help="exp/<tag>: score all it decoded")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data directories of sets")
    parser.add_argument("--ref", type=Path, help="Kaldi text of the references")
    parser.add_argument("--hyp", type=Path, help="Kaldi text of the hypotheses")
    parser.add_argument("--out", type=Path, help="folder for score_wer/ and the others")
    parser.add_argument("--utt2spk", type=Path, help="speakers, for sums by speaker")
    parser.add_argument("--token_model", default="", help="SentencePiece model, for score_ter/")
    add_rules(parser)
    args = parser.parse_args(argv)
    rules = Rules(args.alignment, args.ignore_case, tuple(args.remove))
    if args.exp_dir:
        if args.ref or args.hyp or args.out or args.utt2spk:
            parser.error(
                "give an experiment folder, or --ref, --hyp, --out and --utt2spk, not both"
            )
        sets.score_experiment(args.exp_dir, args.data, args.token_model, rules)
        return
    if not (args.ref and args.hyp and args.out):
        parser.error("give an experiment folder, or --ref, --hyp and --out")
    result = sets.score_set(args.ref, args.hyp, args.out, args.utt2spk, args.token_model, rules)
    print(f"WER {result.error_rate:.2f} % ({result.errors} of {result.words} words)")
    interval = statistics.error_rate_interval(result)
    if interval:
        drawn = f"{interval.num_drawn} {interval.drawn}"
        print(f"95 % interval {interval.low:.2f} to {interval.high:.2f}, by bootstrap over {drawn}")


def add_rules(parser: Parser) -> None:
    """The options that become `Rules`."""
    parser.add_argument(
        "--alignment", choices=ALIGNMENTS, default=ALIGNMENTS[0], help="how words are paired"
    )
    parser.add_argument("--ignore_case", action="store_true", help="compare in lower case")
    parser.add_argument(
        "--remove",
        nargs="+",
        default=[],
        metavar="SYMBOL",
        help="symbols to take out of references and hypotheses, such as . , <unk>",
    )


if __name__ == "__main__":
    run(main)

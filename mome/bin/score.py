"""Score: python -m mome.bin.score --ref data/test/text --hyp hyp/text --out dir
       python -m mome.bin.score exp/<tag> --data data

Writes <out>/score_wer/{ref.trn,hyp.trn,result.txt}, score_cer/ and, with --token_model, score_ter/,
in sclite's form. The second form, stage 5 of a recipe, scores every decode_<scale>/<set>/text of an
experiment. Where NIST sclite is installed, what it says is kept beside, in sclite.txt.
"""

import argparse
import json
import logging
import re
import shutil
import subprocess
from pathlib import Path

from espnet2.fileio.read_text import read_2columns_text

from mome import wer
from mome.bin import run

log = logging.getLogger(__name__)

UNITS = {"wer": "word", "cer": "char", "ter": "token"}


def sclite_command() -> list[str] | None:
    """How NIST sclite is called on this machine, if it is there."""
    if shutil.which("sclite"):
        return ["sclite"]
    return ["sctk", "sclite"] if shutil.which("sctk") else None


def run_sclite(folder: Path) -> tuple[int, int] | None:
    """Run sclite on the trn files of a folder: (words, errors), or None when it is not there."""
    command = sclite_command()
    if command is None:
        return None
    files = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn"]
    done = subprocess.run(
        [*command, *files, "-i", "rm", "-s", "-e", "utf-8", "-o", "rsum", "pra", "stdout"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    (folder / "sclite.txt").write_text(done.stdout + done.stderr)
    total = re.search(r"\| *Sum *\| *\d+ +(\d+) *\| *\d+ +\d+ +\d+ +\d+ +(\d+) ", done.stdout)
    if total is None:
        log.warning(f"{folder / 'sclite.txt'}: sclite gave no totals")
        return None
    return int(total[1]), int(total[2])


def read_text(path: Path) -> dict[str, str]:
    """Kaldi text; an utterance with nothing behind its id has the text ""."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: decode it (stage 4) before scoring")
    return read_2columns_text(path)


def score_one(ref: Path, hyp: Path, out: Path, utt2spk: Path | None, token_model: str) -> wer.Score:
    """Score one set in all units; returns the word score."""
    refs, hyps = read_text(ref), read_text(hyp)
    speakers = read_2columns_text(utt2spk) if utt2spk and utt2spk.exists() else {}
    tokenise = None
    if token_model:
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor(model_file=token_model)
        tokenise = lambda text: pieces.encode(text, out_type=str)  # noqa: E731
    words = None
    for name, unit in UNITS.items():
        if unit == "token" and tokenise is None:
            continue
        try:
            result = wer.score(refs, hyps, speakers, unit, tokenise)
        except ValueError as error:
            raise ValueError(f"{hyp} against {ref}: {error}") from None
        words = words or result
        folder = out / f"score_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        spk = {a.utterance: a.speaker for a in result.aligned}
        for side, k in (("ref", 0), ("hyp", 1)):
            texts = {
                a.utterance: [p[k] for p in a.pairs if p[k] is not None] for a in result.aligned
            }
            (folder / f"{side}.trn").write_text(wer.trn(texts, spk))
        text = wer.report(result, str(hyp))
        theirs = run_sclite(folder) if unit == "word" else None
        if theirs:
            total = result.total
            text += f"\nNIST sclite counts {theirs[1]} errors in {theirs[0]} words; here, "
            text += f"{total.errors} in {total.words}. Its alignment weighs a substitution 4, an\n"
            text += "insertion or deletion 3 (see sclite.txt); the one here makes fewest errors.\n"
        beside = folder / "result.tmp"
        beside.write_text(text)
        beside.replace(folder / "result.txt")
    (out / "score.json").write_text(json.dumps(summary(out, words)) + "\n")
    return words


def summary(out: Path, words: wer.Score) -> dict:
    """Counts of the words, for the report."""
    return {"set": out.name, **vars(words.total)}


def main(argv: list[str] | None = None) -> None:
    """Score one text or a whole experiment."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exp_dir", nargs="?", type=Path, help="exp/<tag>: score all it decoded")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data directories of sets")
    parser.add_argument("--ref", type=Path, help="Kaldi text")
    parser.add_argument("--hyp", type=Path, help="Kaldi text")
    parser.add_argument("--out", type=Path, help="folder for score_wer/ and the others")
    parser.add_argument("--utt2spk", type=Path, help="speakers, for the summary")
    parser.add_argument("--token_model", default="", help="SentencePiece model, for score_ter/")
    args = parser.parse_args(argv)
    if args.exp_dir is None:
        if not (args.ref and args.hyp and args.out):
            parser.error("give an experiment folder, or --ref, --hyp and --out")
        result = score_one(args.ref, args.hyp, args.out, args.utt2spk, args.token_model)
        print(
            f"WER {result.error_rate:.2f} % ({result.total.errors} of {result.total.words} words)"
        )
        return
    hyps = sorted(args.exp_dir.glob("decode_*/*/text"))
    if not hyps:
        raise FileNotFoundError(f"{args.exp_dir} has no decode_<scale>/<set>/text: run stage 4")
    for hyp in hyps:
        about = hyp.parent / "decode.json"
        data = args.data / hyp.parent.name
        if about.exists():
            data = args.data / Path(json.loads(about.read_text())["data"]).name
        result = score_one(data / "text", hyp, hyp.parent, data / "utt2spk", args.token_model)
        log.info(f"{hyp.parent}: WER {result.error_rate:.1f} %")


if __name__ == "__main__":
    run(main)

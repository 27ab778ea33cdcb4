"""Scoring of sets: word, character and token error rates in sclite's form."""

import json
import logging
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from espnet2.fileio.read_text import read_2columns_text

from mome import files
from mome.scoring import wer

log = logging.getLogger(__name__)


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


def units(token_model: str) -> dict[str, Callable[[str], list[str]]]:
    """What is counted: word, character and, with a SentencePiece model, token error rates."""
    found = {"wer": str.split, "cer": wer.split_characters}
    if token_model:
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor(model_file=token_model)
        found["ter"] = lambda text: pieces.encode(text, out_type=str)
    return found


def score_one(ref: Path, hyp: Path, out: Path, utt2spk: Path | None, token_model: str) -> wer.Score:
    """Score one set in all units; returns the word score."""
    refs, hyps = read_text(ref), read_text(hyp)
    speakers = read_2columns_text(utt2spk) if utt2spk and utt2spk.exists() else None
    scores = {}
    for name, split in units(token_model).items():
        try:
            scores[name] = wer.score(refs, hyps, speakers, split)
        except ValueError as error:
            raise ValueError(f"{hyp} against {ref}: {error}") from None
        write_reports(scores[name], out / f"score_{name}", str(hyp), with_sclite=name == "wer")
    counts = {name: score.as_dict() for name, score in scores.items()}
    (out / "score.json").write_text(json.dumps(counts, indent=1) + "\n")
    return scores["wer"]


def write_reports(result: wer.Score, folder: Path, title: str, with_sclite: bool) -> None:
    """ref.trn, hyp.trn, result.txt; result.txt comes last and whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, name in enumerate(("ref", "hyp")):
        (folder / f"{name}.trn").write_text(wer.trn(result, side))
    text = wer.result_text(result, title)
    theirs = run_sclite(folder) if with_sclite else None
    if theirs:
        text += f"\nNIST sclite counts {theirs[1]} errors in {theirs[0]} words; here, "
        text += f"{result.errors} in {result.words}. Its alignment weighs a substitution 4, an\n"
        text += "insertion or deletion 3 (see sclite.txt); the one here makes fewest errors.\n"
    beside = folder / "result.tmp"
    beside.write_text(text)
    beside.replace(folder / "result.txt")


def score_experiment(exp_dir: Path, data_dir: Path, token_model: str) -> None:
    """Score all that was decoded and is not scored yet."""
    found = sorted(exp_dir.glob("decode_*/*/text"))
    if not found:
        raise FileNotFoundError(f"{exp_dir} has no decode_<scale>/<set>/text: run stage 4")
    for hyp in found:
        about = json.loads((hyp.parent / "decode.json").read_text())
        data = data_dir / Path(about["data"]).name
        out = hyp.parent / "score_wer"
        inputs = {
            "ref": files.digest(data / "text"),
            "hyp": files.digest(hyp),
            "utt2spk": files.digest(data / "utt2spk"),
            "token_model": files.digest(token_model) if token_model else None,
            "sclite": sclite_command(),
        }
        if files.up_to_date(out, inputs):
            continue
        files.clear_stamp(out)
        result = score_one(data / "text", hyp, hyp.parent, data / "utt2spk", token_model)
        files.write_stamp(out, inputs)
        log.info(f"{hyp.parent}: WER {result.error_rate:.1f} %")

"""Scoring of decoded sets: files with word, character and token error rates in sclite's form."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from espnet2.fileio.read_text import read_2columns_text

from mome import files
from mome.scoring import sclite, wer

log = logging.getLogger(__name__)


def score_experiment(exp_dir: Path, data_dir: Path, token_model: str) -> None:
    """Score every decode_<scale>/<set>/text of an experiment that has no up-to-date scores.

    The references are those of the data directory in `data_dir` that the set was decoded from.
    """
    hyp_paths = sorted(exp_dir.glob("decode_*/*/text"))
    if not hyp_paths:
        raise FileNotFoundError(f"{exp_dir} has no decode_<scale>/<set>/text: run stage 4")
    for hyp_path in hyp_paths:
        settings = json.loads((hyp_path.parent / "decode.json").read_text())
        data = data_dir / Path(settings["data"]).name
        out_dir = hyp_path.parent / "score_wer"
        inputs = {
            "ref": files.digest(data / "text"),
            "hyp": files.digest(hyp_path),
            "utt2spk": files.digest(data / "utt2spk"),
            "token_model": files.digest(token_model) if token_model else None,
            "sclite": sclite.sctk_command("sclite"),
        }
        if files.up_to_date(out_dir, inputs):
            continue
        files.clear_stamp(out_dir)
        result = score_set(data / "text", hyp_path, hyp_path.parent, data / "utt2spk", token_model)
        files.write_stamp(out_dir, inputs)
        log.info(f"{hyp_path.parent}: WER {result.error_rate:.1f} %")


def score_set(
    ref_path: Path, hyp_path: Path, out_dir: Path, utt2spk_path: Path | None, token_model: str
) -> wer.Score:
    """Score one set in all units; returns the word score.

    Writes score.json (the counts of each unit) and score_wer/, score_cer/ and, with a SentencePiece
    model `token_model`, score_ter/. Raises ValueError when the two texts have other utterances.
    """
    refs, hyps = read_text(ref_path), read_text(hyp_path)
    speakers = None
    if utt2spk_path is not None and utt2spk_path.exists():
        speakers = read_2columns_text(utt2spk_path)
    scores = {}
    for unit, split in units(token_model).items():
        try:
            scores[unit] = wer.score(refs, hyps, speakers, split)
        except ValueError as error:
            raise ValueError(f"{hyp_path} against {ref_path}: {error}") from None
        folder = out_dir / f"score_{unit}"
        write_sclite_files(scores[unit], folder, str(hyp_path), run_sclite=unit == "wer")
    counts = {unit: score.as_dict() for unit, score in scores.items()}
    files.write_text(out_dir / "score.json", json.dumps(counts, indent=1) + "\n")
    return scores["wer"]


def read_text(path: Path) -> dict[str, str]:
    """Texts by utterance of a Kaldi text file; a line with only an id is the text ""."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: decode it (stage 4) before scoring")
    return read_2columns_text(path)


def units(token_model: str) -> dict[str, Callable[[str], list[str]]]:
    """How a text is split for each error rate: wer, cer and, with a SentencePiece model, ter."""
    splits: dict[str, Callable[[str], list[str]]] = {
        "wer": str.split,
        "cer": wer.split_characters,
    }
    if token_model:
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor(model_file=token_model)
        splits["ter"] = lambda text: pieces.encode(text, out_type=str)
    return splits


def write_sclite_files(result: wer.Score, folder: Path, title: str, run_sclite: bool) -> None:
    """Write ref.trn, hyp.trn and, last, result.txt; `run_sclite` adds NIST sclite's counts."""
    for side, name in enumerate(("ref", "hyp")):
        files.write_text(folder / f"{name}.trn", sclite.trn(result, side))
    text = sclite.result_text(result, title)
    counts = sclite.run_sclite(folder) if run_sclite else None
    if counts:
        words, errors = counts
        text += f"\nNIST sclite counts {errors} errors in {words} words; here, "
        text += f"{result.errors} in {result.words}. Its alignment weighs a substitution 4, an\n"
        text += "insertion or deletion 3 (see sclite.txt); the one here makes fewest errors.\n"
    files.write_text(folder / "result.txt", text)

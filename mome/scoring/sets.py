"""Scoring of decoded sets: files with word, character and token error rates in sclite's form.

score.json of a set holds

    wer, cer, ter   counts of each unit: `wer.Score(**counts)`
    intervals       unit -> 95 % interval of its error rate, or null: low, high, drawn, num_drawn
    speakers        speaker -> counts of words, and the interval of its error rate
    rules           how texts were compared, see `texts.Rules`
    digests         of the texts: a changed text makes the scores stale
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mome import files
from mome.data import tables
from mome.scoring import sclite, statistics, wer
from mome.scoring.texts import Rules, digest

FORM = 2  # of score.json; another number makes all scores anew
SCORES = "score.json"
UTTERANCES = "utterances.tsv"
COUNTS = ("words", "substitutions", "deletions", "insertions")
log = logging.getLogger(__name__)


def score_experiment(
    exp_dir: Path,
    data_dir: Path,
    token_model: str = "",
    rules: Rules | None = None,
) -> None:
    """Score every decode_<scale>/<set>/text of an experiment that has no up-to-date scores.

    The references are those of the data directory in `data_dir` that the set was decoded from.
    Scores that are no longer up to date are removed first, so that no report can show them when
    this fails.
    """
    rules = rules or Rules()
    hyp_paths = sorted(exp_dir.glob("decode_*/*/text"))
    if not hyp_paths:
        raise FileNotFoundError(f"{exp_dir} has no decode_<scale>/<set>/text: run stage 4")
    todo = []
    for hyp_path in hyp_paths:
        settings = json.loads((hyp_path.parent / "decode.json").read_text())
        data = data_dir / Path(settings["data"]).name
        inputs = {
            "form": FORM,
            "rules": asdict(rules),
            "ref": files.digest(data / "text"),
            "hyp": files.digest(hyp_path),
            "utt2spk": files.digest(data / "utt2spk"),
            "token_model": files.digest(token_model) if token_model else None,
            "sclite": sclite.sctk_command("sclite"),
        }
        if files.up_to_date(hyp_path.parent / "score_wer", inputs):
            continue
        files.clear_stamp(hyp_path.parent / "score_wer")
        (hyp_path.parent / SCORES).unlink(missing_ok=True)
        todo.append((hyp_path, data, inputs))
    for hyp_path, data, inputs in todo:
        folder = hyp_path.parent
        result = score_set(data / "text", hyp_path, folder, data / "utt2spk", token_model, rules)
        files.write_stamp(folder / "score_wer", inputs)
        log.info(f"{folder}: WER {wer.one_digit(result.error_rate)} %")


def score_set(
    ref_path: Path,
    hyp_path: Path,
    out_dir: Path,
    utt2spk_path: Path | None = None,
    token_model: str = "",
    rules: Rules | None = None,
) -> wer.Score:
    """Score one set in all units; returns the word score.

    Writes score_wer/, score_cer/ and, with a SentencePiece model `token_model`, score_ter/, and at
    last score.json; an older one is removed first. Raises ValueError when a file is damaged or the
    two texts have other utterances.
    """
    rules = rules or Rules()
    (out_dir / SCORES).unlink(missing_ok=True)
    scores = score_texts(ref_path, hyp_path, utt2spk_path, token_model, rules)
    title = f"{hyp_path} ({rules})"
    for unit, result in scores.items():
        folder = out_dir / f"score_{unit}"
        write_sclite_files(result, folder, title, rules.alignment, run_sclite=unit == "wer")
    found: dict[str, Any] = {unit: result.as_dict() for unit, result in scores.items()}
    found["intervals"] = {unit: interval(result) for unit, result in scores.items()}
    found["speakers"] = {
        speaker: part.as_dict() | {"interval": interval(part)}
        for speaker, part in scores["wer"].by_speaker().items()
    }
    found["rules"] = asdict(rules)
    found["digests"] = {"ref": digest(ref_path), "hyp": digest(hyp_path)}
    files.write_text(out_dir / SCORES, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return scores["wer"]


def interval(result: wer.Score) -> dict[str, Any] | None:
    """The 95 % interval of an error rate as JSON has it."""
    found = statistics.error_rate_interval(result)
    return asdict(found) if found else None


def score_texts(
    ref_path: Path,
    hyp_path: Path,
    utt2spk_path: Path | None,
    token_model: str,
    rules: Rules,
) -> dict[str, wer.Score]:
    """The score in each unit of a Kaldi text against another."""
    if not hyp_path.exists():
        raise FileNotFoundError(f"{hyp_path} is missing: decode it (stage 4) before scoring")
    texts = [tables.read(path, ours=False, needs_value=False) for path in (ref_path, hyp_path)]
    refs, hyps = map(rules.apply_to, texts)
    speakers = tables.read(utt2spk_path, ours=False) if utt2spk_path else None
    scores = {}
    for unit, split in units(token_model).items():
        try:
            scores[unit] = wer.score(refs, hyps, speakers, split, rules.alignment)
        except ValueError as error:
            raise ValueError(f"{hyp_path} against {ref_path}: {error}") from None
    return scores


def units(token_model: str) -> dict[str, Callable[[str], list[str]]]:
    """How a text is split for each error rate: wer, cer and, with a SentencePiece model, ter."""
    splits: dict[str, Callable[[str], list[str]]] = {
        "wer": str.split,
        "cer": wer.split_characters,
    }
    if token_model:
        import sentencepiece

        if not Path(token_model).is_file():
            raise FileNotFoundError(f"there is no SentencePiece model {token_model}")
        try:
            pieces = sentencepiece.SentencePieceProcessor(model_file=token_model)
        except RuntimeError:
            raise ValueError(f"{token_model} is not a SentencePiece model") from None
        splits["ter"] = lambda text: pieces.encode(text, out_type=str)
    return splits


# ---- files of a unit ----------------------------------------------------------------------------


def write_sclite_files(
    result: wer.Score, folder: Path, title: str, alignment: str, run_sclite: bool
) -> None:
    """Write ref.trn, hyp.trn, utterances.tsv and, last, result.txt.

    `run_sclite` adds NIST sclite's counts where it is installed.
    """
    (folder / "result.txt").unlink(missing_ok=True)
    for side, name in enumerate(("ref", "hyp")):
        files.write_text(folder / f"{name}.trn", sclite.trn(result, side))
    rows = [["utterance", "speaker", *COUNTS]]
    for a in result.aligned:
        counts = a.score().as_dict()
        rows.append([a.utterance, a.speaker, *(str(counts[name]) for name in COUNTS)])
    files.write_text(folder / UTTERANCES, "".join("\t".join(row) + "\n" for row in rows))
    text = sclite.result_text(result, title)
    counted = sclite.run_sclite(folder) if run_sclite else None
    if counted:
        words, errors = counted
        text += f"\nNIST sclite counts {errors} errors in {words} words; here, "
        text += f"{result.errors} in {result.words}.\n"
        if alignment == "sclite":
            text += (
                "They differ only where sclite reads a text in its own way, such as { a / b }.\n"
            )
        else:
            text += "Its alignment weighs a substitution 4, an insertion or deletion 3 (see\n"
            text += "sclite.txt); the one here makes fewest errors.\n"
    files.write_text(folder / "result.txt", text)


def read_aligned(folder: Path, alignment: str = "levenshtein") -> wer.Score:
    """The score of a score_wer/ folder (or of another unit) with its alignments.

    Raises FileNotFoundError or ValueError when the folder is not whole.
    """
    path = folder / UTTERANCES
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: score the set again (stage 5, mome score)")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    speakers = {utterance: speaker for utterance, speaker, *_ in rows}
    texts = []
    for name in ("ref.trn", "hyp.trn"):
        by_id = sclite.read_trn(folder / name)
        keys = {u: f"{speaker}-{u}" for u, speaker in speakers.items()}
        lost = [u for u, key in keys.items() if key not in by_id]
        if lost:
            raise ValueError(f"{folder / name} lacks {lost[0]}, which {path} has: score it again")
        texts.append({u: by_id[key] for u, key in keys.items()})
    return wer.score(texts[0], texts[1], speakers, alignment=alignment)

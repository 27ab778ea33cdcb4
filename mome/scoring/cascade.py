"""What a cascade gains: its threshold from a validation set, and error rates and costs of sets.

A cascade decodes at a cheap scale, and again at the next one where the score, the mean
log-probability of the tokens, is below a threshold. Nothing is decoded here: sets that were decoded
at each scale say what a cascade would have given.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mome.compression import Scale
from mome.data import tables as data_tables
from mome.scoring import statistics, tables, wer
from mome.transcription.cascade import NEVER

ALWAYS = 1.0  # a threshold above all scores, which are 0 at most


@dataclass(frozen=True)
class Decoded:
    """A set that was decoded at a scale; what it holds by utterance has the same keys.

    Attributes:
        set_name, scale: what was decoded.
        aligned: references and hypotheses.
        scores: mean log-probabilities; None when they were not kept.
        lengths_s: of the clips.
        seconds: that decoding took.
        record: decode.json, what it was decoded with.
    """

    set_name: str
    scale: Scale
    aligned: Mapping[str, wer.Aligned]
    scores: Mapping[str, float] | None
    lengths_s: Mapping[str, float]
    seconds: float
    record: dict[str, Any]

    @property
    def errors(self) -> dict[str, int]:
        return {u: a.score().errors for u, a in self.aligned.items()}


@dataclass(frozen=True)
class System:
    """A scale, a cascade or an oracle on a set.

    Attributes:
        score: its errors, with alignments.
        tokens_per_s: of sound and lips that the LLM reads in a second of media.
        seconds: of decoding, for a clip on average.
        twice: share of the clips that are decoded more than once.
    """

    set_name: str
    name: str
    score: wer.Score
    tokens_per_s: float
    seconds: float
    twice: float


# ---- the threshold ------------------------------------------------------------------------------


def choose_threshold(
    scores: Sequence[float], cheap: Sequence[int], fine: Sequence[int], gain: float
) -> float:
    """The score below which a clip is worth a second look.

    It is the lowest threshold that keeps the share `gain` of the errors that the finer scale saves,
    and for which all higher ones do, too: a few lucky clips do not decide. Between the scores of
    two clips it is the higher one. NEVER when the finer scale saves nothing.

    Args:
        scores: of the clips of a validation set at the cheap scale.
        cheap, fine: errors of each clip at both scales.
    """
    most = sum(cheap) - gain * (sum(cheap) - sum(fine))
    if sum(fine) >= sum(cheap):
        return NEVER
    order = sorted(range(len(scores)), key=lambda k: -scores[k])
    threshold, errors = ALWAYS, sum(fine)
    for k, following in zip(order, [*order[1:], None], strict=True):
        errors += cheap[k] - fine[k]  # from here on, clip k is decoded once
        if following is not None and scores[following] == scores[k]:
            continue  # no threshold lies between clips of equal score
        if errors > most:
            break
        threshold = scores[k]
    return threshold


# ---- systems ------------------------------------------------------------------------------------


def fixed(decoded: Decoded) -> System:
    """A scale by itself."""
    return _system(str(decoded.scale), [decoded], {u: [0] for u in decoded.aligned})


def cascaded(steps: Sequence[Decoded], threshold: float | Mapping[str, float]) -> System:
    """The cascade of a set that was decoded at each of its scales.

    `threshold` is one for all, or that of each utterance.
    """
    used = {}
    for u in steps[0].aligned:
        least = threshold[u] if isinstance(threshold, Mapping) else threshold
        k = 0
        while k + 1 < len(steps) and _score(steps[k], u) < least:
            k += 1
        used[u] = list(range(k + 1))
    return _system("cascade", steps, used)


def held_out(cheap: Decoded, fine: Decoded, gain: float) -> System | None:
    """The cascade on its validation set, for each speaker with the threshold of all others.

    The threshold of the whole set fits its own clips too well. None for a set of one speaker.
    """
    speakers = {u: a.speaker for u, a in cheap.aligned.items()}
    if len(set(speakers.values())) < 2:
        return None
    thresholds = {
        speaker: threshold_of(cheap, fine, gain, [u for u in speakers if speakers[u] != speaker])
        for speaker in set(speakers.values())
    }
    found = cascaded([cheap, fine], {u: thresholds[speakers[u]] for u in speakers})
    return replace(found, name="cascade, held out")


def threshold_of(
    cheap: Decoded, fine: Decoded, gain: float, utterances: Iterable[str] | None = None
) -> float:
    """`choose_threshold` for a set, or for some utterances of it."""
    chosen = list(cheap.aligned if utterances is None else utterances)
    cheap_errors, fine_errors = cheap.errors, fine.errors
    return choose_threshold(
        [_score(cheap, u) for u in chosen],
        [cheap_errors[u] for u in chosen],
        [fine_errors[u] for u in chosen],
        gain,
    )


def oracle(decoded: Sequence[Decoded]) -> System:
    """The scale with the fewest errors for each clip, the first of those that are equal.

    It pays for that scale alone. No cascade of these scales can have fewer errors.
    """
    errors = [d.errors for d in decoded]
    best = {}
    for u in decoded[0].aligned:
        of_scales = [table[u] for table in errors]
        best[u] = [of_scales.index(min(of_scales))]
    return _system("oracle", decoded, best)


def _system(name: str, decoded: Sequence[Decoded], used: Mapping[str, list[int]]) -> System:
    """What comes out when utterances are decoded at the scales `used`, of which the last counts."""
    lengths_s = decoded[0].lengths_s
    total_s = sum(lengths_s[u] for u in used)
    tokens, seconds = 0.0, 0.0
    for u, steps in used.items():
        tokens += lengths_s[u] * sum(decoded[k].scale.tokens_per_second for k in steps)
        seconds += lengths_s[u] * sum(decoded[k].seconds for k in steps) / total_s
    return System(
        set_name=decoded[0].set_name,
        name=name,
        score=wer.Score.of([decoded[steps[-1]].aligned[u] for u, steps in used.items()]),
        tokens_per_s=tokens / total_s,
        seconds=seconds / len(used),
        twice=sum(len(steps) > 1 for steps in used.values()) / len(used),
    )


def _score(decoded: Decoded, utterance: str) -> float:
    assert decoded.scores is not None, "a scale of a cascade was read with its scores"
    return decoded.scores[utterance]


# ---- decoded sets -------------------------------------------------------------------------------


def read(
    exp_dir: Path, set_name: str, scale: Scale, data_dir: Path, needs_scores: bool = False
) -> Decoded:
    """A decoded set, with its data directory in `data_dir`.

    Raises FileNotFoundError, which says what to run, when something is missing, and ValueError when
    a file is damaged or the tables do not fit together.
    """
    folder = exp_dir / f"decode_{scale}" / set_name
    command = f"mome decode {exp_dir} --sets {set_name} --scales {scale}"
    if not (folder / "text").exists():
        raise FileNotFoundError(f"{folder}/text is missing: run {command}")
    path, scores = folder / "score", None
    if path.exists():
        scores = read_numbers(path)
    elif needs_scores:
        raise FileNotFoundError(
            f"{path} is missing, as in sets decoded by older versions: remove {folder} and run"
            f" {command}"
        )
    record = json.loads((folder / "decode.json").read_text(encoding="utf-8"))
    data = data_dir / Path(record["data"]).name
    refs, hyps = (
        data_tables.read(p, ours=False, needs_value=False) for p in (data / "text", folder / "text")
    )
    speakers = data_tables.read(data / "utt2spk", ours=False)
    lengths_s = read_numbers(data / "utt2dur")
    try:
        aligned = wer.score(refs, hyps, speakers).aligned
    except ValueError as error:
        raise ValueError(f"{folder}/text against {data}/text: {error}") from None
    for name, table in ((path, scores), (data / "utt2dur", lengths_s)):
        if table is not None and (lost := refs.keys() - table.keys()):
            raise ValueError(f"{name} lacks {wer.count_and_names(lost, len(refs))}")
    by_id = {a.utterance: a for a in aligned}
    return Decoded(set_name, scale, by_id, scores, lengths_s, record["seconds"], record)


def read_numbers(path: Path) -> dict[str, float]:
    """A Kaldi table of numbers by utterance; ValueError that names what is none."""
    found = {}
    for utterance, text in data_tables.read(path, ours=False).items():
        try:
            found[utterance] = float(text)
        except ValueError:
            raise ValueError(f"{path}: {utterance} has {text!r}, which is no number") from None
    return found


# ---- tables -------------------------------------------------------------------------------------


def as_table(systems: Iterable[System]) -> list[list[str]]:
    """A row of cells for each system, below a header; see mome.scoring.tables."""
    rows = [["set", "system", "WER %", "tokens/s", "s a clip", "twice %"]]
    for s in systems:
        interval = statistics.error_rate_interval(s.score)
        cells = [s.set_name, s.name, tables.with_interval(s.score, interval)]
        cells += [f"{s.tokens_per_s:.1f}", f"{s.seconds:.3f}", f"{100 * s.twice:.0f}"]
        rows.append(cells)
    return rows

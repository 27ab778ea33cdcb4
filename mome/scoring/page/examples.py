"""Utterances on the page: words above their corrections, mouths, and the sound."""

import io
from dataclasses import dataclass

import cv2
import numpy as np
import soundfile

from mome.data import SAMPLE_RATE, VIDEO_FPS, audio, crops
from mome.data.set_name import SetName
from mome.scoring import wer
from mome.scoring.page.glossary import describe_set
from mome.scoring.page.html import Html, data_uri, join, tag
from mome.scoring.page.scored import Scored

NUM_EXAMPLES = 4
NUM_WORST = {"clean": 4, "hardest": 6}
NUM_MOUTHS = 8  # images of a strip
MOST_SOUND_BYTES = 1_000_000  # of all sounds together, before they become text
KINDS = {"S": "another word", "D": "a word is missing", "I": "a word too many"}


# ---- words --------------------------------------------------------------------------------------


def legend() -> Html:
    """What the marks of an alignment mean."""
    marks = [
        tag("span", tag("b", letter), f" = {text}", class_=letter) for letter, text in KINDS.items()
    ]
    return tag(
        "p", "What was recognised; above an error, its kind and the word that was said: ",
        join(marks, ", "), ". Errors are underlined: solid (S), dashed (D) or double (I).",
        class_="soft",
    )  # fmt: skip


def alignment(a: wer.Aligned) -> Html:
    """The words that were recognised; an error has its kind and the reference word above it."""
    words = []
    for ref, hyp in a.pairs:
        if ref == hyp:
            words.append(tag("span", tag("span", hyp, class_="below"), class_="pair"))
            continue
        kind = "I" if ref is None else "D" if hyp is None else "S"
        above = tag("span", tag("b", kind), f" {ref}" if ref else "", class_="above")
        below = tag("span", hyp if hyp is not None else "\u2013", class_="below")
        title = f"{KINDS[kind]}: {ref or 'nothing'} was said, {hyp or 'nothing'} recognised"
        words.append(tag("span", above, below, class_=f"pair {kind}", title=title))
    return tag("div", join(words, " ") if words else "(no words)", class_="aligned")


def said(a: wer.Aligned) -> str:
    """The reference."""
    return " ".join(ref for ref, _ in a.pairs if ref is not None) or "(no words)"


def counted(a: wer.Aligned) -> str:
    """`2 errors, 7 words`."""
    score = a.score()
    errors, words = (
        f"{n} {name}{'' if n == 1 else 's'}"
        for n, name in ((score.errors, "error"), (score.words, "word"))
    )
    return f"{errors}, {words}"


# ---- examples -----------------------------------------------------------------------------------


def examples(exp: Scored) -> Html:
    """A few utterances, evenly from the list, in two sets and at two scales."""
    shown = dict.fromkeys(
        (name, scale)
        for name in (exp.clean, exp.hardest)
        for scale in (exp.finest(name), exp.coarsest(name))
    )
    by_key = {key: {a.utterance: a for a in exp.align(*key).aligned} for key in shown}
    common = sorted(set.intersection(*(set(found) for found in by_key.values())))
    picks = np.linspace(0, len(common) - 1, min(NUM_EXAMPLES, len(common))).round().astype(int)
    cards = []
    for utterance in (common[k] for k in picks):
        found = {key: aligned[utterance] for key, aligned in by_key.items()}
        first = next(iter(found.values()))
        results = [
            tag("div", tag("div", f"{name} at {scale}: {counted(a)}", class_="soft"), alignment(a),
                class_="result")
            for (name, scale), a in found.items()
        ]  # fmt: skip
        words = tag("p", "Said: ", tag("b", said(first)), class_="said")
        cards.append(tag("article", tag("h3", utterance), words, *results, class_="card"))
    text = f"{len(picks)} of {len(common)} utterances, taken evenly from the list."
    return join([tag("p", text), tag("div", *cards, class_="cards")])


# ---- worst utterances ---------------------------------------------------------------------------


@dataclass
class Budget:
    """How many bytes of sound the page may still take."""

    left: int = MOST_SOUND_BYTES


def worst(exp: Scored) -> Html:
    """The utterances with most errors in the clean and in the hardest set, at the finest scale."""
    budget, parts = Budget(), []
    names = {"hardest": exp.hardest, "clean": exp.clean}
    for kind, name in names.items():
        if kind == "clean" and name == exp.hardest:
            continue
        scale = exp.finest(name)
        ranked = sorted(exp.align(name, scale).aligned, key=badness)
        shown = [a for a in ranked[: NUM_WORST[kind]] if a.score().errors]
        wrong = sum(a.score().errors > 0 for a in ranked)
        parts.append(tag("h3", f"{name} at {scale}"))
        text = f"{describe_set(name)}. {wrong} of {len(ranked)} utterances have errors"
        text += f"; the {len(shown)} with most of them:" if shown else "."
        parts.append(tag("p", text))
        cards = [worst_card(exp, name, a, budget) for a in shown]
        parts.append(tag("div", *cards, class_="cards"))
    return join(parts)


def badness(a: wer.Aligned) -> tuple:
    """Sorts utterances by falling errors, then by rising words."""
    score = a.score()
    return -score.errors, score.words, a.utterance


def worst_card(exp: Scored, name: str, a: wer.Aligned, budget: Budget) -> Html:
    return tag(
        "article",
        tag("h3", a.utterance),
        tag("div", f"speaker {a.speaker}: {counted(a)}", class_="soft"),
        tag("p", "Said: ", tag("b", said(a)), class_="said"),
        alignment(a),
        mouth_strip(exp, name, a.utterance),
        player(exp, name, a.utterance, budget),
        class_="card",
    )


def missing(text: str) -> Html:
    return tag("p", text, class_="missing soft")


def mouth_strip(exp: Scored, name: str, utterance: str) -> Html:
    """Mouth crops at even times as one image, or a sentence that says why there is none."""
    if not exp.reads_video:
        return missing("This model reads no video, so no mouth is shown.")
    parsed = SetName.parse(name)
    path = exp.mouths.get(parsed.base, {}).get(utterance)
    if path is None:
        folder = exp.mouths_dir / parsed.base
        return missing(f"No mouth crops: {folder}/mouths.scp does not have this utterance.")
    try:
        images = crops.read(path)
    except (OSError, ValueError) as error:
        return missing(f"No mouth crops: {error}")
    picks = np.linspace(0, len(images) - 1, min(NUM_MOUTHS, len(images))).round().astype(int)
    strip = np.hstack([cv2.resize(images[k], (80, 80)) for k in picks])
    _, content = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 85])
    times = ", ".join(f"{k / VIDEO_FPS:.1f}" for k in picks)
    return tag(
        "img", src=data_uri(content.tobytes(), "image/jpeg"), width=strip.shape[1],
        height=strip.shape[0], alt=f"The mouth in {utterance} at {times} s",
        title=f"The mouth at {times} s",
    )  # fmt: skip


def player(exp: Scored, name: str, utterance: str, budget: Budget) -> Html:
    """A player of the sound that the model heard, or a sentence that says why there is none."""
    path = exp.sounds.get(name, {}).get(utterance)
    if path is None:
        return missing(f"No sound: {exp.data_dir / name}/wav.scp does not have this utterance.")
    try:
        content = flac(audio.read(path))
    except (OSError, ValueError) as error:
        return missing(f"No sound: {error}")
    if len(content) > budget.left:
        return missing(f"No sound: this page holds {MOST_SOUND_BYTES / 1e6:g} MB of it. See {path}")
    budget.left -= len(content)
    return tag(
        "audio", src=data_uri(content, "audio/flac"), controls=True, preload="metadata",
        aria_label=f"{utterance} in {name}",
    )  # fmt: skip


def flac(samples: np.ndarray) -> bytes:
    """Samples (S,) at 16 kHz as a lossless file that all browsers play."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()

"""The parts of the demo's page that change, as HTML: a message, the mouths, texts and figures."""

import base64
import math
from collections.abc import Callable
from html import escape

import cv2
import numpy as np

from mome.compression import Scale
from mome.data import AUDIO_FPS, VIDEO_FPS
from mome.demo.state import Reading, State

TASKS = {"avsr": "sound and lips", "asr": "sound alone", "vsr": "lips alone"}

CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.gradio-container h1 { margin-bottom: 0; }
.mome-note { padding: 10px 14px; border-radius: 8px; margin: 0 0 12px; overflow-wrap: anywhere;
  background: var(--background-fill-secondary); border-left: 4px solid var(--color-accent); }
.mome-note.warning { border-left-color: #d08700; }
.mome-note.error { border-left-color: #d02020; }
#clip video { max-height: 320px; }
.mome-mouths { display: grid; grid-template-columns: repeat(10, 1fr); gap: 4px;
  margin-bottom: 12px; }
@media (max-width: 600px) { .mome-mouths { grid-template-columns: repeat(5, 1fr); } }
.mome-mouths img { width: 100%; border-radius: 4px; margin: 0; display: block; }
.mome-texts { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr));
  gap: 12px; margin-bottom: 12px; }
.mome-text { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 12px 14px;
  background: var(--block-background-fill); }
.mome-text h3 { margin: 0; font-size: 1rem; }
.mome-text small { opacity: 0.75; }
.mome-text p { font-size: 1.25rem; line-height: 1.5; margin: 8px 0 0; min-height: 1.9rem;
  overflow-wrap: anywhere; }
.mome-text p.writing::after { content: "\\258F"; animation: mome-blink 1s steps(2) infinite; }
@keyframes mome-blink { 50% { opacity: 0; } }
.mome-figures { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.mome-figures, .mome-figures tbody, .mome-figures tr { border: 0 !important; }
.mome-figures th, .mome-figures td { padding: 5px 8px !important; text-align: right;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; }
.mome-figures th:first-child { text-align: left; font-weight: normal; }
"""


def note(text: str, kind: str = "") -> str:
    """A message; `kind` is "", "warning" or "error"."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="mome-note {kind}" role="{role}">{escape(text)}</p>'


def notes(state: State) -> str:
    """What is going on, and what the clip lacks."""
    if not state.clip_s and not state.readings:
        return note("Reading the clip and looking for the face…")
    warnings = "".join(note(f"Note: {text}.", "warning") for text in state.warnings)
    return warnings + note("Done." if state.is_done else "Decoding…")


def mouths(crops: list[tuple[float, np.ndarray]]) -> str:
    """The crops of the mouth as a strip that wraps."""
    images = "".join(
        f'<img src="{data_url(crop)}" alt="mouth at {time:.2f} s" title="{time:.2f} s">'
        for time, crop in crops
    )
    return f'<div class="mome-mouths">{images}</div>' if images else ""


def data_url(image: np.ndarray) -> str:
    """A grey image as the address of a JPEG that is inside the address."""
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def results(state: State, count_flops: Callable[[int, int], int]) -> str:
    """The texts side by side, and a table with what each of them took.

    Args:
        count_flops: operations of the LLM by the tokens of a prompt and those of its text.
    """
    if not state.readings:
        return ""
    texts = "".join(map(text, state.readings))
    done = [reading for reading in state.readings if reading.transcript]
    table = figures(state, done, count_flops) if done else ""
    return f'<div class="mome-texts">{texts}</div>{table}'


def text(reading: Reading) -> str:
    """A text, or the part of it that is decoded."""
    is_done = reading.transcript is not None
    words = escape(reading.text) or ("<em>no words were recognised</em>" if is_done else "")
    return (
        f'<section class="mome-text" data-scale="{reading.scale}"><h3>{reading.scale}</h3>'
        f"<small>{describe(reading.scale)}</small>"
        f'<p class="{"done" if is_done else "writing"}">{words}</p></section>'
    )


def as_stopped(results: str) -> str:
    """The results without the cursor of a text that is being written."""
    return results.replace('<p class="writing">', '<p class="stopped">')


def describe(scale: str) -> str:
    """What a scale means, in words."""
    rates = Scale.parse(scale)
    parts = []
    if rates.audio:
        parts.append(f"{rates.audio / AUDIO_FPS:.2f} s of sound")
    if rates.video:
        parts.append(f"{rates.video / VIDEO_FPS:.2f} s of lips")
    return "a token for " + " and for ".join(parts)


def figures(state: State, readings: list[Reading], count_flops: Callable[[int, int], int]) -> str:
    """A table: a row for each figure, a column for each scale."""
    columns = [figures_of(state, reading, count_flops) for reading in readings]
    head = "".join(f"<th>{reading.scale}</th>" for reading in readings)
    rows = "".join(
        f"<tr><th>{name}</th>" + "".join(f"<td>{column[name]}</td>" for column in columns) + "</tr>"
        for name in columns[0]
    )
    title = f"Clip of {state.clip_s:.1f} s"
    return f'<table class="mome-figures"><tr><th>{title}</th>{head}</tr>{rows}</table>'


def figures_of(
    state: State, reading: Reading, count_flops: Callable[[int, int], int]
) -> dict[str, str]:
    """The figures of one scale, by their names on the page."""
    segments = reading.transcript.segments
    total_s = state.read_s + reading.seconds
    flops = sum(count_flops(s.num_prompt_tokens, s.num_tokens) for s in segments)
    written = sum(s.num_tokens for s in segments)
    log_prob = sum(s.score * s.num_tokens for s in segments) / max(1, written)
    return {
        "Tokens that the LLM reads": f"{sum(s.num_prompt_tokens for s in segments)}",
        "Tokens that it writes": f"{written}",
        "Mean probability of these": f"{100 * math.exp(log_prob):.0f} %" if written else "-",
        "Operations of the LLM": f"{flops / 1e9:.1f} GFLOP",
        "Time to read file and face": f"{state.read_s:.2f} s",
        "Time to encode and decode": f"{reading.seconds:.2f} s",
        "Real-time factor": f"{total_s / max(state.clip_s, 0.04):.2f}",
    }

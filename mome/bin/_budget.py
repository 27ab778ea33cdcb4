"""The scale that a budget affords: `mome transcribe --budget rtf=0.5` or `--budget tokens=100`.

`tokens` are those of sound and lips in a second of media. `rtf` is the real-time factor: seconds of
work for a second of media, from the file to its text. It is measured with a drawn face that talks
for CLIP_S seconds, at each scale, and kept in the cache folder of the user: one file for each
model, device, kind of processor, number of threads and of beams. Real media differ: a large image
takes longer to read, a fast speaker has more tokens.
"""

import hashlib
import json
import logging
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mome
from mome import files
from mome.data import SAMPLE_RATE, VIDEO_FPS
from mome.synthesis import movie
from mome.synthesis.face import Face
from mome.synthesis.mouth import Mouth

CLIP_S = 8
RUNS = 2  # the faster one counts: other programs make both slower, never faster
TEXT_PER_S = 4.0  # tokens of the text in a second of speech, as in mome.scoring.scale_cost
LIMITS = ("rtf", "tokens")
log = logging.getLogger(__name__)


def parse(text: str) -> tuple[str, float]:
    """`rtf=0.5` -> ("rtf", 0.5). Raises ValueError."""
    name, _, value = text.partition("=")
    try:
        limit = float(value)
    except ValueError:
        limit = 0.0
    if name not in LIMITS or not 0 < limit < float("inf"):
        raise ValueError(f"a budget is written rtf=0.5 or tokens=100; got {text!r}")
    return name, limit


def affordable(
    model: Any, budget: str, task: str | None, landmarks_every: int = 1, again: bool = False
) -> str:
    """The most expensive scale of the model within a budget, else the cheapest, with a warning.

    Args:
        task: only scales that read all of its streams are looked at; by default, all are.
        again: measure even if that was done before.
    """
    name, limit = parse(budget)
    scales = [scale for scale in model.scales if task in (None, scale.task)] or model.scales
    if name == "tokens":
        costs = {str(scale): scale.tokens_per_second for scale in scales}
    else:
        table = real_time_factors(model, landmarks_every, again)
        costs = {str(scale): table[str(scale)] for scale in scales}
    within = [scale for scale in costs if costs[scale] <= limit]
    cheapest = min(costs, key=lambda scale: costs[scale])
    chosen = max(within, key=lambda scale: costs[scale]) if within else cheapest
    told = ", ".join(f"{scale} {cost:.3g}" for scale, cost in costs.items())
    if not within:
        log.warning(f"no scale has {budget}: the cheapest one, {chosen}, is used")
    log.info(f"scale {chosen} for {budget}; {name} of each scale: {told}")
    return chosen


# ---- real-time factors ---------------------------------------------------------------------------


def real_time_factors(model: Any, landmarks_every: int, again: bool) -> dict[str, float]:
    """By scale; read from the cache folder, or measured and written there."""
    path = cache_path(model, landmarks_every)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))["rtf"]
        if not again and all(table[str(scale)] > 0 for scale in model.scales):
            return table
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not measured yet, or damaged
    log.info("measuring the real-time factor of each scale, once on this machine")
    table = measure(model, landmarks_every)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {"rtf": table, "conditions": conditions(model, landmarks_every)})
        log.info(f"kept in {path}; --measure_again measures anew")
    except OSError as error:
        log.warning(f"the real-time factors cannot be kept: {error}")
    return table


def conditions(model: Any, landmarks_every: int) -> dict[str, Any]:
    """What a real-time factor depends on, but for the load of the machine."""
    device, search = model.device, model.config.decode
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "weights": files.digest(model.dir / "model.safetensors"),
        "device": f"{device.type} {gpu}".strip(),
        "machine": [platform.node(), platform.machine(), os.cpu_count()],
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
        "dtype": str(model.model.llm.dtype),
        "num_beams": search.num_beams,
        "landmarks_every": landmarks_every,
    }


def cache_path(model: Any, landmarks_every: int) -> Path:
    """The file of the real-time factors under these conditions."""
    key = json.dumps(conditions(model, landmarks_every), sort_keys=True)
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "mome" / f"rtf-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def measure(model: Any, landmarks_every: int) -> dict[str, float]:
    """Seconds of work for a second of media at each scale."""
    table: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip)
        mome.transcribe(model, clip, str(model.scales[-1]))  # the first call is slower
        read: dict[str, tuple[float, Any]] = {}  # by task: seconds, recording
        for scale in model.scales:
            if scale.task not in read:
                read[scale.task] = fastest(
                    partial(
                        mome.open_recording, model, clip, str(scale),
                        landmarks_every=landmarks_every,
                    )
                )  # fmt: skip
            read_s, recording = read[scale.task]
            work_s = min(decoding_s(model, recording, str(scale)) for _ in range(RUNS))
            table[str(scale)] = round((read_s + work_s) / CLIP_S, 4)
    return table


def fastest(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the fastest of RUNS calls, and what it gives."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def decoding_s(model: Any, recording: Any, scale: str) -> float:
    """Seconds to encode a recording of CLIP_S and to decode a text of TEXT_PER_S.

    Noise has no text of a known length, so the time of a token is measured apart.
    """
    times = [time.perf_counter()]
    mome.transcribe(
        model, recording, scale, most_s=CLIP_S, on_text=lambda _: times.append(time.perf_counter())
    )
    end = time.perf_counter()
    steps = [b - a for a, b in pairwise(times[1:])]
    step_s = statistics.median(steps) if steps else end - times[-1]
    return times[1] - times[0] + CLIP_S * TEXT_PER_S * step_s


def write_clip(path: Path) -> None:
    """A drawn face, whose mouth opens and closes, and noise as its sound."""
    track = np.array([Mouth()] * 4 + [Mouth(jaw=1, open=1)] * 4)
    images = np.tile(Face([1]).film(track, [1])[0], (CLIP_S * VIDEO_FPS // len(track), 1, 1, 1))
    sound = np.random.default_rng(0).normal(scale=3000, size=CLIP_S * SAMPLE_RATE)
    movie.write(path, images, VIDEO_FPS, sound.astype(np.int16), SAMPLE_RATE)

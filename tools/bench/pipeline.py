#!/usr/bin/env python
"""Where the time of `mome transcribe` goes: tools/bench/pipeline.py --exp exp/X --clips a.mp4 ...

Joins the clips to files of each length and transcribes each file at each scale in a process of its
own, as a user would. Two tables: the real-time factor by the clock, from the start of the process
to its end, and by the CPU's time, with the peak of its memory; and the seconds of each part:

    start      Python, imports and the models
    sound      reading the sound
    images     reading the images, for the face and for the crops
    face       finding the face in them (mediapipe)
    crops      cutting out the mouth, and coding it as stage 1 stores it
    audio, video   the encoders
    prompt     the LLM reads the tokens of sound and lips
    text       the LLM writes
    rest       everything else
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

PARTS = (
    "start", "sound", "images", "face", "crops", "audio", "video", "prompt", "text", "rest",
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]


# ---- files of each length ------------------------------------------------------------------------


class Joined:
    """The images of clips of one size, one after the other, until there are enough."""

    def __init__(self, clips: list[Path], num_images: int):
        from mome.data.video import ImageReader

        self.readers = [ImageReader(clip) for clip in clips]
        height, width = next(iter(self.readers[0])).shape[:2]
        self.shape = (num_images, height, width, 3)

    def __iter__(self) -> Iterator[np.ndarray]:
        left = self.shape[0]
        while left:
            for reader in self.readers:
                for image in reader:
                    if left:
                        left -= 1
                        yield image


def write_joined(path: Path, clips: list[Path], seconds: float) -> None:
    """A file of so many seconds, made of the clips again and again."""
    from mome.data import SAMPLE_RATE, VIDEO_FPS, audio, video
    from mome.synthesis import movie

    num_images, sounds, total = round(seconds * VIDEO_FPS), [], 0
    step = SAMPLE_RATE // VIDEO_FPS
    each = []
    for clip in clips:
        size = video.count_images(clip) * step
        each.append(np.resize(np.append(audio.read(clip), np.zeros(size, np.float32)), size))
    while total < num_images * step:
        sounds += each
        total += sum(map(len, each))
    sound = np.concatenate(sounds)[: num_images * step]
    samples = (sound.clip(-1, 1) * 32767).astype(np.int16)
    images: Any = Joined(clips, num_images)
    movie.write(path, images, VIDEO_FPS, samples, SAMPLE_RATE)


# ---- one transcription, timed --------------------------------------------------------------------


class Watch:
    """Seconds of each part; a part that runs inside another one is not counted there."""

    def __init__(self):
        self.spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self.running: list[str] = ["rest"]
        self.since = time.perf_counter()

    def _lap(self) -> None:
        now = time.perf_counter()
        self.spent[self.running[-1]] += now - self.since
        self.since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._lap()
        self.running.append(name)
        try:
            yield
        finally:
            self._lap()
            self.running.pop()

    def timed(self, name: str, call: Callable) -> Callable:
        """The call, whose time counts for a part."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return call(*args, **kwargs)

        return wrapped

    def each(self, name: str, iterate: Callable) -> Callable:
        """As `timed`, for a call that gives an iterator."""

        def wrapped(*args: Any, **kwargs: Any) -> Iterator:
            items = iterate(*args, **kwargs)
            while True:
                with self.part(name):
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                yield item

        return wrapped


def transcribe(began: float, argv: list[str]) -> dict[str, float]:
    """Run `mome transcribe` in this process; seconds of its parts."""
    import mome.bin.transcribe as command
    from mome import decoding, search
    from mome.data import audio, crops, faces, landmarks, video
    from mome.encoders import AudioEncoder, VideoEncoder
    from mome.transcription import load

    watch = Watch()
    places = [
        (load, "load_model", "start"),
        (audio, "read", "sound"),
        (landmarks, "find_faces", "face"),
        (faces, "crop", "crops"),
        (crops, "as_stored", "crops"),
        (AudioEncoder, "forward", "audio"),
        (VideoEncoder, "encode", "video"),
        (search.Tree, "read_prompts", "prompt"),
        (decoding, "find_texts", "text"),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, part in places:
            stack.enter_context(
                mock.patch.object(owner, name, watch.timed(part, getattr(owner, name)))
            )
        images = watch.each("images", video.ImageReader.__iter__)
        stack.enter_context(mock.patch.object(video.ImageReader, "__iter__", images))
        watch.spent["start"] = time.monotonic() - began
        command.main(argv)
    watch._lap()
    return watch.spent


def measure(path: Path, scale: str, exp_dir: Path, options: list[str]) -> dict[str, Any]:
    """Transcribe a file in a process of its own: its times, its memory, its text."""
    with tempfile.NamedTemporaryFile() as report:
        began = time.monotonic()
        words = [str(path), "--model", str(exp_dir), "--scale", scale, *options]
        child = subprocess.Popen(
            [sys.executable, __file__, "--one", report.name, str(began), *words],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert child.stdout is not None
        text = child.stdout.read().decode()
        _, status, used = os.wait4(child.pid, 0)
        took = time.monotonic() - began
        if status:
            sys.exit(f"{path} could not be transcribed at {scale}")
        parts = json.loads(Path(report.name).read_text())
    parts["rest"] += took - sum(parts.values())  # the end of the process
    return {
        "bench": "pipeline",
        "scale": scale,
        "clock_s": took,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_bytes": 1024 * used.ru_maxrss,
        "parts_s": parts,
        "words": len(text.split()),
    }


# ---- tables --------------------------------------------------------------------------------------


def print_tables(rows: list[dict[str, Any]]) -> None:
    print("| media, s | scale | clock, s | real-time factor | CPU, s | peak memory, GB | words |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['media_s']:g} | {row['scale']} | {row['clock_s']:.1f}"
            f" | {row['clock_s'] / row['media_s']:.2f} | {row['cpu_s']:.1f}"
            f" | {row['peak_bytes'] / 1e9:.2f} | {row['words']} |"
        )
    print(f"\n| media, s | scale | {' | '.join(PARTS)} |\n|---|---|{'---|' * len(PARTS)}")
    for row in rows:
        cells = [f"{row['parts_s'][part]:.1f}" for part in PARTS]
        print(f"| {row['media_s']:g} | {row['scale']} | {' | '.join(cells)} |")


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        report, began, *words = sys.argv[2:]
        from mome.bin import start_logging

        start_logging()
        Path(report).write_text(json.dumps(transcribe(float(began), words)))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--exp", type=Path, required=True, help="exp/<tag> or a packed model")
    add("--clips", type=Path, nargs="+", required=True, help="videos of one size, with a face")
    add("--lengths", type=float, nargs="+", default=[10, 60, 600], help="of the files, in seconds")
    add("--scales", nargs="+", default=["a4_v2", "a16_v5"])
    add("--json", type=Path, help="file to add a line to for each row")
    add("options", nargs="*", help="after --: options of mome transcribe")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in args.lengths:
            path = Path(folder) / f"{seconds:g}.mp4"
            write_joined(path, args.clips, seconds)
            for scale in args.scales:
                found = measure(path, scale, args.exp, args.options)
                rows.append({"media_s": seconds} | found)
                if args.json:
                    with args.json.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    print_tables(rows)


if __name__ == "__main__":
    main()

"""What a visitor of the page asks for: a clip, checked, read once, and recognised at each scale.

The work is done in a thread, one visitor after the other, and told piece by piece, so that the page
shows the text as it is decoded and a visitor who leaves ends the work at the next token.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

import mome
from mome.data import VIDEO_FPS, noise
from mome.demo.state import NO_NOISE, Limits, Reading, Request, State

NUM_MOUTHS = 20  # crops that are shown
NUM_VOICES = 30  # in babble
TICK_S = 0.5  # without news, after which a visit still yields, so that it can be closed


class _Left(Exception):
    """The visitor has left or stopped the work."""


class ModelHost:
    """Serves one visitor at a time with a model.

    Args:
        model: from `mome.load_model`.
        voices: speech files for babble noise; without any, there is no babble.
        landmarks_every: find the face in each n-th image alone.
    """

    def __init__(
        self,
        model: Any,
        limits: Limits | None = None,
        voices: Sequence[Path] = (),
        landmarks_every: int = 1,
    ):
        self.model, self.limits, self.voices = model, limits or Limits(), list(voices)
        self.landmarks_every = landmarks_every
        self.lock = threading.Lock()

    @property
    def noises(self) -> list[str]:
        """The kinds of noise that can be added."""
        return [NO_NOISE, *(kind for kind in noise.MADE if kind != "babble" or self.voices)]

    def serve(self, request: Request) -> Iterator[State]:
        """The states of a request, each with more than the one before.

        Raises ValueError or OSError, in one line, for a clip that is refused or cannot be read.
        """
        news: queue.SimpleQueue = queue.SimpleQueue()
        left = threading.Event()

        def tell(state: State) -> None:
            if left.is_set():
                raise _Left
            news.put(state)

        def work() -> None:
            try:
                with self.lock:
                    self._work(request, tell)
                news.put(None)
            except _Left:
                pass
            except Exception as error:  # raised again in the thread of the visitor
                news.put(error)

        threading.Thread(target=work, daemon=True).start()
        try:
            yield from latest(news)
        finally:
            left.set()

    def _work(self, request: Request, tell: Callable[[State], None]) -> None:
        tell(State())  # a visitor who left while he waited for the lock ends here
        check(request.path, self.limits)
        start = time.monotonic()
        recording = mome.open_recording(
            self.model, request.path, request.scales[0], landmarks_every=self.landmarks_every
        )
        read_s = time.monotonic() - start
        if recording.seconds > self.limits.seconds:
            raise too_long(request.path, recording.seconds, self.limits)
        recording = self.with_noise(recording, request)
        state = State(recording.seconds, read_s, mouths_of(recording), recording.warnings)
        tell(state)
        for scale in request.scales:
            start = time.monotonic()
            found = mome.transcribe(
                self.model, recording, scale, on_text=partial(tell_text, tell, state, scale)
            )
            reading = Reading(scale, found.text, time.monotonic() - start, found)
            readings = (*state.readings, reading)
            state = replace(state, readings=readings, is_done=len(readings) == len(request.scales))
            tell(state)

    def with_noise(self, recording: Any, request: Request) -> Any:
        """The recording with noise in its sound; the same noise each time, for comparisons."""
        if request.noise == NO_NOISE:
            return recording
        if recording.sound is None:
            warning = "there is no sound to add noise to"
            return replace(recording, warnings=[*recording.warnings, warning])
        rng = np.random.default_rng(0)
        voices = [recording.sound]  # speech-shaped noise has the spectrum of the clip itself
        if request.noise == "babble":
            num = min(NUM_VOICES, len(self.voices))
            chosen = rng.choice(len(self.voices), num, replace=False)
            voices = [noise.waveform(str(self.voices[k])) for k in chosen]
        added = noise.make(request.noise, len(recording.sound), rng, voices)
        noisy = noise.add_noise(recording.sound, added.astype(np.float32), request.snr)
        return replace(recording, sound=noisy.astype(np.float32))


def tell_text(tell: Callable[[State], None], state: State, scale: str, text: str) -> None:
    """Tell a state with the text that is decoded so far at another scale."""
    tell(replace(state, readings=(*state.readings, Reading(scale, text))))


def latest(news: queue.SimpleQueue) -> Iterator[State]:
    """The newest state each time; the last one again when there is no news for a while."""
    state = State()
    while True:
        try:
            found = news.get(timeout=TICK_S)
            while isinstance(found, State) and not news.empty():
                state, found = found, news.get()
        except queue.Empty:
            found = state
        if found is None:
            yield state
            return
        if isinstance(found, Exception):
            raise found
        state = found
        yield state


# ---- limits -------------------------------------------------------------------------------------


def check(path: Path, limits: Limits) -> None:
    """Raise ValueError for a file that is larger or longer than the limits."""
    megabytes = path.stat().st_size / 1e6
    if megabytes > limits.megabytes:
        raise ValueError(
            f"{path} has {megabytes:.0f} MB: this page takes at most {limits.megabytes:g} MB"
        )
    if (seconds := seconds_of(path)) > limits.seconds + 1:
        raise too_long(path, seconds, limits)


def too_long(path: Path, seconds: float, limits: Limits) -> ValueError:
    return ValueError(
        f"{path} lasts {seconds:.0f} s: this page takes at most {limits.seconds:g} s, and"
        " mome transcribe takes any length"
    )


def seconds_of(path: Path) -> float:
    """The length of a media file by its packets, without decoding; 0 when it cannot be told.

    A recording of a webcam does not say its length at its head.
    """
    first, last = np.inf, 0.0
    try:
        options = {"protocol_whitelist": "file"}
        with av.open(str(path), options=options, metadata_errors="replace") as container:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base:
                    begin = float(packet.pts * packet.time_base)
                    duration = float((packet.duration or 0) * packet.time_base)
                    first, last = min(first, begin), max(last, begin + duration)
    except av.FFmpegError:
        pass  # mome.open_recording says what is wrong
    return max(0.0, last - first)


# ---- what is shown ------------------------------------------------------------------------------


def mouths_of(recording: Any) -> list[tuple[float, np.ndarray]]:
    """Crops of the mouth, evenly spaced over the images in which the face is seen."""
    if recording.face is None:
        return []
    seen = np.flatnonzero(recording.face.present)
    if not len(seen):
        return []
    wanted = set(seen[np.linspace(0, len(seen) - 1, NUM_MOUTHS).round().astype(int)].tolist())
    crops = (crop for chunk in recording.face.crops() for crop in chunk)
    return [(t / VIDEO_FPS, crop) for t, crop in enumerate(crops) if t in wanted]

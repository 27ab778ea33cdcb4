"""eSpeak NG as a function: from a text and a voice to a waveform with times of phones and words.

The engine is the shared library of the wheel `espeakng-loader`, called through ctypes. It has
global state, such as its random numbers, so two equal calls give different waveforms. Therefore,
each utterance is spoken by a child process, forked from an engine that has not spoken yet, and the
child sets the seed. The same text and voice then give the same samples, whatever was said before.
"""

import ctypes
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from scipy.signal import resample_poly

from mome.data import SAMPLE_RATE

ENGINE_RATE = 22_050  # samples a second of the engine
LEVEL = 0.06  # root mean square of the louder half of the samples; full scale is 1
MAX_PEAK = 0.95  # of a sample; full scale is 1

SYNCHRONOUS, PHONEME_EVENTS, NO_EXIT, UTF8, FROM_CHARACTER = 2, 1, 0x8000, 1, 1
END_OF_EVENTS, WORD, PHONEME = 0, 1, 7  # kinds of event
RATE, PITCH, RANGE = 1, 3, 4  # parameters

# Variants of the engine's English voice. Each set has its own list, so that no two sets share a
# voice. The voices that are hardest to understand, by Whisper's error rate on them (david, aunty,
# Andy), are for training.
VARIANTS = {
    "train": (
        "m1 m2 m3 m4 f1 f4 f5 klatt klatt3 Alex Andrea Alicia Andy Gene Gene2 Jacky Lee Marco "
        "Mario Michael Mike Reed Storm adam anika aunty belinda benjamin boris caleb david ed "
        "edward gustave ian iven linda max paul quincy robert shelby steph travis victor zac"
    ),
    "valid": "Denis f2 m6 steph2",
    "test": "Annie f3 john klatt2 m5 m7 pablo rob",
}
VOICES = {set_name: variants.split() for set_name, variants in VARIANTS.items()}


@dataclass(frozen=True)
class Voice:
    """A voice: `rate` in words a minute, `pitch` and its `range` from 0 to 99."""

    name: str  # accent and variant, such as `en-us+f3`
    rate: int
    pitch: int
    range: int


@dataclass(frozen=True)
class Timed:
    """A phone or a word, and when it is spoken, in seconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Speech:
    """A waveform, 16-bit at 16 kHz, its phones (eSpeak's mnemonics; `_` is silence), its words."""

    waveform: np.ndarray
    phones: list[Timed]
    words: list[Timed]

    @property
    def duration_s(self) -> float:
        """Length of the waveform in seconds."""
        return len(self.waveform) / SAMPLE_RATE


def say(text: str, voice: Voice) -> Speech:
    """Speak `text` (plain words): the same arguments give the same samples and times.

    Raises ValueError for a voice that the engine does not have, RuntimeError when the engine fails.
    """
    engine()  # loaded before forking, so that all children start from the same state
    samples, events = in_a_child(speak, text, voice)
    total_s = len(samples) / ENGINE_RATE
    phone_starts = [(name or "_", n / ENGINE_RATE) for kind, name, n in events if kind == PHONEME]
    phones = until_next(phone_starts, total_s)
    spoken = [p for p in phones if not p.name.startswith("_")]
    end_s = spoken[-1].end if spoken else total_s
    words = until_next([(name, n / ENGINE_RATE) for kind, name, n in events if kind == WORD], end_s)
    ratio = Fraction(SAMPLE_RATE, ENGINE_RATE)
    waveform = resample_poly(samples.astype(float), ratio.numerator, ratio.denominator)
    return Speech(levelled(waveform), phones, words)


def until_next(starts: list[tuple[str, float]], end_s: float) -> list[Timed]:
    """Each item lasts until the next one, the last one until `end_s`; empty items are left out."""
    ends = [start for _, start in starts[1:]] + [end_s]
    both = zip(starts, ends, strict=True)
    return [Timed(name, start, end) for (name, start), end in both if end > start]


def levelled(waveform: np.ndarray) -> np.ndarray:
    """The waveform in 16 bits, at one loudness for all speech, or quieter if it would clip."""
    size = np.abs(waveform)
    loud = waveform[size > np.median(size)]
    gain = LEVEL / max(np.sqrt(np.mean(loud**2)), 1e-9) if len(loud) else 1.0
    gain = min(gain, MAX_PEAK / max(size.max(), 1e-9))
    return np.round(waveform * gain * 32767).astype(np.int16)


# ---- the engine ---------------------------------------------------------------------------------


class EventId(ctypes.Union):
    """espeak_EVENT's `id`: which member holds depends on the kind of event."""

    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("text", ctypes.c_char * 8))


class Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("kind", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", EventId),
    )


Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


@cache
def engine() -> ctypes.CDLL:
    """The library, loaded and initialised; in this process, it never speaks."""
    try:
        import espeakng_loader
    except ImportError:
        raise ValueError(
            "eSpeak NG is missing: pip install espeakng-loader (tools/install.sh does)"
        ) from None
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data_dir = os.path.dirname(espeakng_loader.get_data_path())
    options = PHONEME_EVENTS | NO_EXIT
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, data_dir.encode(), options)
    if rate != ENGINE_RATE:
        raise RuntimeError(f"eSpeak NG in {data_dir} gives {rate} Hz instead of {ENGINE_RATE}")
    return library


def engine_version() -> str:
    """The version of eSpeak NG: the sound depends on it and on our own code."""
    library = engine()
    library.espeak_Info.restype = ctypes.c_char_p
    return library.espeak_Info(None).decode()


def speak(text: str, voice: Voice) -> tuple[np.ndarray, list[tuple[int, str, int]]]:
    """The engine's samples and events (kind, phone or word, sample). Call it in a new child."""
    library = engine()
    chunks: list[np.ndarray] = []
    events: list[tuple[int, str, int]] = []

    def take(samples, num_samples, event):
        if samples and num_samples > 0:
            chunks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        for i in range(1 << 30):
            if event[i].kind == END_OF_EVENTS:
                return 0
            if event[i].kind in (PHONEME, WORD):
                events.append((event[i].kind, name_of(event[i], text), event[i].sample))

    callback = Callback(take)
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise ValueError(f"eSpeak NG has no voice '{voice.name}'")
    for parameter, value in ((RATE, voice.rate), (PITCH, voice.pitch), (RANGE, voice.range)):
        library.espeak_SetParameter(parameter, value, 0)
    data = text.encode() + b"\0"
    status = library.espeak_Synth(
        data, ctypes.c_size_t(len(data)), 0, FROM_CHARACTER, 0, UTF8, None, None
    )
    if status != 0 or not chunks:
        raise RuntimeError(f"eSpeak NG failed with status {status} on '{text}'")
    return np.concatenate(chunks), events


def name_of(event: Event, text: str) -> str:
    """The word or the phone of an event."""
    if event.kind == WORD:
        return text[event.text_position - 1 : event.text_position - 1 + event.length]
    # A phone's name has up to eight bytes; when it has eight, no zero byte follows.
    return ctypes.string_at(ctypes.addressof(event.id), 8).split(b"\0")[0].decode()


def in_a_child(function: Callable, *arguments: Any) -> Any:
    """Call `function` in a forked process; its result is returned, its exception raised, here."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            outcome = (True, function(*arguments))
        except BaseException as error:
            outcome = (False, error)
        try:
            with os.fdopen(writer, "wb") as file:
                pickle.dump(outcome, file)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    if not data:
        raise RuntimeError(f"the speech process ended with status {status} on {arguments}")
    succeeded, result = pickle.loads(data)
    if not succeeded:
        raise result
    return result

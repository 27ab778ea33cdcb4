"""eSpeak NG as a function: text and voice in, waveform and exact phone and word times out.

The engine is the shared library of the wheel `espeakng-loader`, called through ctypes. It keeps
global state, random numbers included, so the same call twice gives two waveforms. Each utterance is
therefore spoken by a process forked from an engine that has never spoken and seeded there: the
same text and voice give the same samples, whatever came before.
"""

import ctypes
import os
import pickle
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.signal import resample_poly

SAMPLE_RATE = 16_000
ENGINE_RATE = 22_050  # of the engine; 320/441 of it is ours
LEVEL = 0.06  # root mean square of the loud half, full scale = 1
LOUDEST = 0.95

SYNCHRONOUS, PHONEME_EVENTS, NO_EXIT, UTF8, FROM_CHARACTER = 2, 1, 0x8000, 1, 1
END_OF_EVENTS, WORD, PHONEME = 0, 1, 7  # kinds of event
RATE, PITCH, RANGE = 1, 3, 4  # parameters

# Variants of the engine's English voice. Training, validation and test speakers draw from lists of
# their own, so that a voice, too, is on one side only. Those that are hardest to understand, by
# Whisper's error rate on them (david, aunty, Andy), are for training.
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
    """Who speaks, and how: `rate` in words a minute, `pitch` and its `range` from 0 to 99."""

    name: str  # `en-us+f3`: accent and variant
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
    """Waveform, 16-bit at 16 kHz; phones (eSpeak's mnemonics; `_` is silence); words."""

    waveform: np.ndarray
    phones: list[Timed]
    words: list[Timed]

    @property
    def duration_s(self) -> float:
        return len(self.waveform) / SAMPLE_RATE


def say(text: str, voice: Voice) -> Speech:
    """Speak `text` (plain words): the same arguments give the same samples and times.

    Raises ValueError for a voice that the engine does not have, RuntimeError when the engine fails.
    """
    engine()  # loaded here, so that all children start from the same state
    samples, events = in_a_child(speak, text, voice)
    total_s = len(samples) / ENGINE_RATE
    starts = [(name, at / ENGINE_RATE) for kind, name, at in events if kind == PHONEME]
    phones = until_next([(name or "_", at) for name, at in starts], total_s)
    spoken = [p for p in phones if not p.name.startswith("_")]
    end_s = spoken[-1].end if spoken else total_s
    words = until_next(
        [(name, at / ENGINE_RATE) for kind, name, at in events if kind == WORD], end_s
    )
    return Speech(level(resample_poly(samples.astype(float), 320, 441)), phones, words)


def until_next(starts: list[tuple[str, float]], end_s: float) -> list[Timed]:
    """Each lasts until the next begins, the last until `end_s`; those of no length are left out."""
    ends = [start for _, start in starts[1:]] + [end_s]
    both = zip(starts, ends, strict=True)
    return [Timed(name, start, end) for (name, start), end in both if end > start]


def level(waveform: np.ndarray) -> np.ndarray:
    """Bring speech to one loudness without clipping; 16-bit."""
    size = np.abs(waveform)
    loud = waveform[size > np.median(size)]
    gain = LEVEL / max(np.sqrt(np.mean(loud**2)), 1e-9) if len(loud) else 1.0
    gain = min(gain, LOUDEST / max(size.max(), 1e-9))
    return np.round(waveform * gain * 32767).astype(np.int16)


# ---- the engine ---------------------------------------------------------------------------------


class EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("text", ctypes.c_char * 8))


class Event(ctypes.Structure):
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
    """The library, initialised, silent so far."""
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
    """What the sound depends on, besides our own code."""
    library = engine()
    library.espeak_Info.restype = ctypes.c_char_p
    return library.espeak_Info(None).decode()


def speak(text: str, voice: Voice) -> tuple[np.ndarray, list[tuple[int, str, int]]]:
    """Samples of the engine and its events (kind, phone or word, sample). In a fresh child only."""
    library, chunks, events = engine(), [], []

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
    if event.kind == WORD:
        return text[event.text_position - 1 : event.text_position - 1 + event.length]
    # up to eight bytes, the last without a zero after it
    return ctypes.string_at(ctypes.addressof(event.id), 8).split(b"\0")[0].decode()


def in_a_child(function, *arguments):
    """Call `function` in a forked process and give its result, or raise its exception, here."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = (True, function(*arguments))
        except BaseException as error:
            result = (False, error)
        try:
            with os.fdopen(writer, "wb") as file:
                pickle.dump(result, file)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    if not data:
        raise RuntimeError(f"the speech process ended with status {status} on {arguments}")
    worked, result = pickle.loads(data)
    if not worked:
        raise result
    return result

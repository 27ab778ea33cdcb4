"""eSpeak NG as a function: repeatable speech, and voices that exist."""

from pathlib import Path

import espeakng_loader
import numpy as np
import pytest

from mome.synthesis import speech


def test_speech_does_not_depend_on_what_was_said_before():
    voice = speech.Voice("en-us+klatt", 150, 50, 50)
    first = speech.say("a yellow river", voice)
    speech.say("something else", speech.Voice("en+f3", 170, 30, 60))
    repeated = speech.say("a yellow river", voice)
    assert np.array_equal(first.waveform, repeated.waveform) and first.phones == repeated.phones


def test_each_voice_exists_and_belongs_to_one_set():
    voices_of_all = [voice for voices in speech.VOICES.values() for voice in voices]
    assert len(set(voices_of_all)) == len(voices_of_all) >= 52
    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    assert set(voices_of_all) <= {path.name for path in folder.iterdir()}


def test_an_unknown_voice_is_named():
    with pytest.raises(ValueError, match="no voice 'xx\\+nobody'"):
        speech.say("fish", speech.Voice("xx+nobody", 150, 50, 50))

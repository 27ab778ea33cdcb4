"""The stamp of noisy sets. tests/bin/test_add_noise.py runs the command, with all that it makes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mome import files
from mome.data import SAMPLE_RATE, audio, datadir, noisy_sets

TIME_NS = 1_700_000_000_123_456_789

# Noisy sets made by earlier versions stay valid only as long as these literals hold.
TABLES = {
    ".stamp.json": "missing",
    "phones": "missing",
    "text": "a679854344a705c6",
    "utt2spk": "bd97b480b94ccc26",
    "video.scp": "ef1ddb281404276f",
    "wav.scp": "dd2a751fd68d5c3d",
}
ALWAYS = {"data": TABLES, "noisy_dir": "dump/noisy", "version": 2}
MADE = {**ALWAYS, "noise_dir": None}
PINK = {**MADE, "noise": "pink", "noise_seconds": 120, "num_voices": 30, "seed": 0}
VOICES = {"noise_seconds": 6.0, "num_voices": 4, "voices": ["dd2a751fd68d5c3d", "missing"]}
BABBLE = {**MADE, **VOICES, "noise": "babble", "seed": 0}
HUM = {**ALWAYS, "files": {"own/hum.wav": f"10 {TIME_NS}"}, "noise": "hum", "noise_dir": "own"}


@pytest.mark.parametrize(
    "name, options, stamp",
    [
        ("pink", {}, PINK),
        ("hum", {"noise_dir": Path("own"), "seed": 3}, {**HUM, "seed": 3}),
        (
            "babble",
            {"noise_data": Path("data/test"), "num_voices": 4, "noise_seconds": 6.0},
            BABBLE,
        ),
    ],
)
def test_the_stamp_does_not_change(tmp_path, monkeypatch, name, options, stamp):
    monkeypatch.chdir(tmp_path)
    keys = ("s0-a", "s0-b-00")
    video = {"s0-a": "media/a.mp4", "s0-b-00": "media/b.mp4[0:249]"}
    wav, text, speakers, seconds = (dict.fromkeys(keys, v) for v in ("media/a.mp4", "x", "s0", 1.0))
    datadir.write("data/test", datadir.DataDir(wav, video, text, speakers, seconds))
    Path("own").mkdir()
    Path("own/hum.wav").write_bytes(b"x" * 10)
    os.utime("own/hum.wav", ns=(TIME_NS, TIME_NS))
    test = Path("data/test")
    settings = noisy_sets.Options(test, test, Path("dump/noisy"), **options)
    sounds = [Path("own/hum.wav")] if "noise_dir" in options else None
    inputs = noisy_sets.stamp_inputs(name, sounds, settings)
    assert json.loads(json.dumps(inputs, default=str)) == stamp


def test_the_snr_is_added_to_the_stamp_and_the_name_is_that_of_the_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    audio.write("a.wav", 0.1 * np.sin(np.arange(SAMPLE_RATE)))
    wav = {"s0-a": "a.wav"}
    datadir.write("data/test", datadir.DataDir(wav, wav, wav, {"s0-a": "s0"}, {"s0-a": 1.0}))
    test = Path("data/test")
    options = noisy_sets.Options(test, test, Path("noisy"), noise_seconds=2)
    noisy_sets.write_noisy_sets(["white"], [-2.5, 5.0], options)
    for snr, name in ((-2.5, "test_white_-2.5"), (5.0, "test_white_5")):
        stamp = json.loads(Path("data", name, files.STAMP).read_text())
        inputs = noisy_sets.stamp_inputs("white", None, options) | {"snr": snr}
        assert stamp == json.loads(json.dumps(inputs, default=str))
        assert datadir.read(f"data/{name}").wav == {"s0-a": f"noisy/{name}/s0-a.wav"}

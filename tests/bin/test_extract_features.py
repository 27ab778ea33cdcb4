"""The command of stage 2: jobs and merging, a second run that does nothing, options, the stamp."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import CLIPS

from mome import encoders, files
from mome.bin.extract_features import main, options_of, parse
from mome.data import ark, datadir
from mome.data.extraction import describe


@pytest.fixture
def command(clips_dir, encoder_dirs):
    """Run the command on the clips with some options; returns the folder of the features."""
    encoders = [f"--{stream}_encoder={path}" for stream, path in encoder_dirs.items()]

    def run(*options: str, out: str = "train") -> Path:
        feats_dir = clips_dir / "feats" / out
        folders = (clips_dir / "data/train", clips_dir / "mouths", feats_dir)
        main([*map(str, folders), *encoders, *options])
        return feats_dir

    return run


def features(feats_dir, name):
    return {u: ark.load(entry) for u, entry in ark.read_scp(feats_dir / name).items()}


@pytest.mark.slow
def test_the_numbers_do_not_depend_on_the_number_of_jobs(command):
    options = ["--num_noisy_copies", "1"]
    one, two = command(*options, out="one"), command(*options, "--num_jobs", "2", out="two")
    for name in ("audio.scp", "video.scp", "audio_noisy1.scp"):
        a, b = features(one, name), features(two, name)
        assert list(a) == list(b)
        for utterance in a:
            np.testing.assert_array_equal(a[utterance], b[utterance])
    assert (one / "noisy1.tsv").read_text() == (two / "noisy1.tsv").read_text()


def test_jobs_run_one_by_one_and_merge(command, monkeypatch):
    """Jobs share batches, of which there are three; they do not form their own."""
    monkeypatch.setitem(encoders.BATCH_S, "cpu", 1.1)
    options = ["--num_noisy_copies", "1"]
    whole = command(*options, out="whole")
    for i in (2, 1, 3):
        command(*options, "--job", f"{i}/3", out="parts")
    parts = command(*options, "--merge", "--num_jobs", "3", out="parts")
    for name in ("audio.scp", "video.scp", "audio_noisy1.scp"):
        a, b = features(whole, name), features(parts, name)
        assert list(a) == list(b) and all(np.array_equal(a[u], b[u]) for u in a)
    for name in ("utt2num_frames", "text", "noisy1.tsv", "feats.json"):
        assert (whole / name).read_text() == (parts / name).read_text()


def test_merging_without_a_job_names_it(command):
    command("--job", "1/2")
    with pytest.raises(ValueError, match="--job 2/2"):
        command("--merge", "--num_jobs", "2")


def test_a_second_run_does_nothing_and_another_option_does(command, caplog):
    def written(feats_dir):
        return {p: p.stat().st_mtime_ns for p in feats_dir.rglob("*") if p.is_file()}

    before = written(command())
    caplog.set_level("INFO")
    assert written(command()) == before and "up to date" in caplog.text
    assert (command("--num_noisy_copies", "1") / "audio_noisy1.scp").exists()
    assert not (command() / "audio_noisy1.scp").exists()


def test_a_job_that_is_done_is_not_done_twice(command):
    ark_path = command("--job", "1/2") / "jobs/1of2/audio.ark"
    before = ark_path.stat().st_mtime_ns
    command("--job", "1/2")
    assert ark_path.stat().st_mtime_ns == before


def test_one_stream_alone(clips_dir, encoder_dirs):
    encoders = {stream: [f"--{stream}_encoder", path] for stream, path in encoder_dirs.items()}
    none = {stream: [f"--{stream}_encoder", "none"] for stream in encoder_dirs}
    data, mouths = str(clips_dir / "data/train"), str(clips_dir / "mouths")
    main([data, "none", str(clips_dir / "asr"), *encoders["audio"], *none["video"]])
    assert not (clips_dir / "asr/video.scp").exists() and (clips_dir / "asr/audio.scp").exists()
    main([data, mouths, str(clips_dir / "vsr"), *none["audio"], *encoders["video"]])
    assert (clips_dir / "vsr/video.scp").exists() and not (clips_dir / "vsr/audio.scp").exists()
    assert len(datadir.read_table(clips_dir / "vsr/text")) == len(CLIPS)


@pytest.mark.parametrize(
    "options",
    [["--job", "3/2"], ["--job", "x"], ["--num_jobs", "0"], ["--noise", "car"]],
)
def test_wrong_options_are_usage_errors(command, options):
    with pytest.raises(SystemExit) as exit:
        command(*options)
    assert exit.value.code == 2


SET = {"audio_encoder": "openai/whisper-small", "video_encoder": "models/av", "format": 1}
NOISE = {"noise": "babble", "noise_dir": None, "noisy_snrs": [-5, 0, 5, 10, 15, 20]}
SET_FILES = [
    "data/train",
    "data/train/.stamp.json",
    "dump/mouths/train/.stamp.json",
    "dump/mouths/train/mouths.scp",
    "dump/mouths/train/skipped.txt",
    "models/av",
    "openai/whisper-small",
]


@pytest.mark.parametrize(
    "options, values, more_files",
    [
        ("--num_jobs 8 --device cpu", {"num_noisy_copies": 0, "pad_to_30s": False}, []),
        (
            "--num_noisy_copies 1",
            {**NOISE, "num_noisy_copies": 1, "num_voices": 30, "pad_to_30s": False, "seed": 1},
            ["data/train/wav.scp"],
        ),
        (
            "--pad_to_30s --store_rate 4 --num_noisy_copies 2 --noise pink --noise_dir noise"
            " --noise_data data/other --num_voices 5 --noisy_snrs 0 -2.5 --seed 3",
            {"noise": "pink", "noise_dir": "noise", "noisy_snrs": [0.0, -2.5], "num_voices": 5}
            | {"num_noisy_copies": 2, "pad_to_30s": True, "seed": 3, "store_rate": 4},
            ["data/other/wav.scp", "data/other/.stamp.json"],
        ),
    ],
)
def test_features_of_version_0_1_stay_valid(options, values, more_files, monkeypatch, tmp_path):
    """The stamp is byte for byte the one that version 0.1 wrote."""
    monkeypatch.setattr(files, "digest", lambda path: "1234")
    folders = ["data/train", "dump/mouths/train", "dump/feats/train"]
    encoders = ["--audio_encoder", "openai/whisper-small", "--video_encoder", "models/av"]
    inputs = describe(options_of(parse([*folders, *encoders, *options.split()])))
    files.write_stamp(tmp_path, inputs)
    expected = SET | values | {"files": {path: "1234" for path in SET_FILES + more_files}}
    text = json.dumps(expected, indent=1, sort_keys=True) + "\n"
    assert (tmp_path / files.STAMP).read_text() == text


def test_a_stamp_without_video_names_no_mouths(monkeypatch):
    monkeypatch.setattr(files, "digest", lambda path: "1234")
    encoders = ["--audio_encoder", "w", "--video_encoder", "none"]
    assert describe(options_of(parse(["data/test", "none", "dump/test", *encoders]))) == {
        "format": 1,
        "audio_encoder": "w",
        "video_encoder": None,
        "pad_to_30s": False,
        "num_noisy_copies": 0,
        "files": {path: "1234" for path in ("data/test", "data/test/.stamp.json", "w")},
    }

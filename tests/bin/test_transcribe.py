"""`mome transcribe`: files and folders, formats, names of results, failures, exit status."""

import errno
import json
import logging
import os

import numpy as np
import pytest
from baby_recogniser import make_experiment

from mome import files
from mome.bin import transcribe
from mome.data import SAMPLE_RATE, audio
from mome.transcription import cascade

SOUND = (0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def exp_dir(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("work"), "asr")


@pytest.fixture
def talks(tmp_path):
    """A folder with two sounds and a text."""
    (tmp_path / "talks/more").mkdir(parents=True)
    audio.write(tmp_path / "talks/a.wav", SOUND)
    audio.write(tmp_path / "talks/more/b.wav", SOUND[:8000])
    (tmp_path / "talks/notes.txt").write_text("no sound\n")
    return tmp_path / "talks"


def run(exp_dir, *options):
    words = [*map(str, options), "--model", str(exp_dir), "--scale", "a16", "--device", "cpu"]
    transcribe.main(words)


def test_a_folder_gives_its_texts_in_order_from_any_folder(exp_dir, talks, capsys, monkeypatch):
    run(exp_dir, talks)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(lines)
    monkeypatch.chdir(talks)
    run(exp_dir, "more/b.wav", "--format", "json")
    found = json.loads(capsys.readouterr().out)
    assert found["file"] == "more/b.wav" and found["text"] == lines[1] and found["task"] == "asr"
    assert found["segments"][0].keys() == {"start", "end", "text", "score"}


def test_all_formats_go_to_a_folder_and_settings_can_be_changed(exp_dir, talks, capsys):
    out = talks / "out"
    run(exp_dir, talks / "a.wav", "decode.num_beams=2", "--output_dir", out, "--format", "all")
    assert sorted(p.name for p in out.iterdir()) == ["a.json", "a.srt", "a.txt", "a.vtt"]
    assert capsys.readouterr().out == ""
    assert (out / "a.txt").read_text().strip() == json.loads((out / "a.json").read_text())["text"]


def test_a_file_that_fails_is_reported_and_the_others_go_on(exp_dir, talks, capsys, caplog):
    (talks / "broken.mp4").write_bytes(b"x" * 1000)
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as end:
        run(exp_dir, talks, talks / "none.wav")
    assert str(end.value).startswith("2 of 4 files could not be transcribed")
    assert "broken.mp4 is no recording that can be read" in caplog.text
    assert "none.wav does not exist" in caplog.text and "2 files, 1.5 s of media" in caplog.text
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_results_never_overwrite_each_other_or_an_input(exp_dir, talks, refused):
    audio.write(talks / "more/a.wav", SOUND)
    with refused(
        "two results of one name", r"a\.wav and .*a\.wav would both be written to .*a\.txt"
    ):
        run(exp_dir, talks, "--output_dir", talks / "out")
    (talks / "c.txt").write_bytes((talks / "a.wav").read_bytes())
    with refused(
        "a result in the place of an input",
        r"c\.txt would be overwritten: give another --output_dir",
    ):
        run(exp_dir, talks / "c.txt", "--output_dir", talks)
    assert not (talks / "out").exists()


def test_a_full_disk_is_one_line(exp_dir, talks, monkeypatch, refused):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.txt")

    monkeypatch.setattr(files, "write_text", full)
    with refused("a full disk", "No space left on device", OSError):
        run(exp_dir, talks, "--output_dir", talks / "out")


def test_a_cascade_needs_a_threshold_and_tells_the_scale_of_each_segment(
    exp_dir, talks, capsys, caplog
):
    options = [str(talks / "a.wav"), "--model", str(exp_dir), "--device", "cpu", "--format", "json"]
    with pytest.raises(FileNotFoundError, match="mome cascade exp/<tag> --scales a16 a4"):
        transcribe.main([*options, "--cascade"])
    scales = cascade.Cascade.parse("a16,a4").scales
    about = {"search": {"num_beams": 1, "batch_size": 1}}
    cascade.write(exp_dir / "best", cascade.Cascade(scales, 1.0), about)
    texts = {}
    for option in (["--cascade"], ["--cascade", "a16,a4"], ["--scale", "a4"]):
        transcribe.main([*options, *option])
        found = json.loads(capsys.readouterr().out)
        texts[" ".join(option)] = found["text"]
    assert len(set(texts.values())) == 1
    assert "was chosen with decode" not in caplog.text
    transcribe.main(["decode.num_beams=2", *options, "--cascade"])
    found = json.loads(capsys.readouterr().out)
    assert found["scale"] == "a16,a4" and found["segments"][0]["scale"] == "a4"
    assert "was chosen with decode.num_beams=1, but here it is 2" in caplog.text


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "the following arguments are required: inputs, --model"),
        (["a.wav", "--model", "x", "--format", "doc"], "invalid choice: 'doc'"),
        (["a.wav", "--model", "x", "--format", "all"], "--format all needs --output_dir"),
        (["a.wav", "--model", "x", "--face", "up"], "--face 'up': give largest, left, right or"),
        (["a.wav", "--model", "x", "--max_seconds", "0"], "--max_seconds must be from 0.5 to 30"),
        (["a.wav", "--model", "x", "--landmarks_every", "0"], "--landmarks_every must be 1 or"),
        (["decode.num_beams=2", "--model", "x"], "no file is given"),
        (["a.wav", "--model", "x", "--words"], "--words needs --format json or all"),
        (["a.wav", "--model", "x", "--cascade", "--scale", "a4"], "--cascade exclude each other"),
        (["--cascade", "a.wav", "--model", "x"], "files stand before --cascade or after"),
    ],
)
def test_wrong_options_are_one_line(options, message, capsys):
    with pytest.raises(SystemExit) as end:
        transcribe.main(options)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_what_is_no_model_or_no_recording_is_named(tmp_path, talks, exp_dir, refused):
    (tmp_path / "empty").mkdir()
    with refused("a folder without media", "empty has no file with sound or video in it"):
        run(exp_dir, tmp_path / "empty")
    with pytest.raises(ValueError, match="best cannot tell when words are said: it was trained"):
        run(exp_dir, talks, "--words", "--format", "json")
    for name, message in (("empty", "is no trained model"), ("no/such/model", "does not exist")):
        with refused(f"a model that is none: {name}", message, FileNotFoundError):
            run(tmp_path / name, talks)

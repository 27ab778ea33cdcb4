"""Reading and writing audio."""

import errno
import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from mome.data import SAMPLE_RATE, audio


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def pitch(x: np.ndarray, rate: int = SAMPLE_RATE) -> float:
    return np.abs(np.fft.rfft(x)).argmax() * rate / len(x)


def write_media(path: Path, x: np.ndarray, rate: int, with_video: bool = True, late_s: float = 0.0):
    """An mp4 with a grey video of one second, and audio that begins `late_s` after it."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("aac", rate=rate)]
        streams[0].layout = "mono"
        if with_video:
            streams.append(container.add_stream("libx264", rate=25))
            streams[1].width = streams[1].height = 32
            streams[1].pix_fmt = "yuv420p"
            for k in range(25):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32), 90, np.uint8), format="gray")
                frame.pts, frame.time_base = k, Fraction(1, 25)
                container.mux(streams[1].encode(frame))
            container.mux(streams[1].encode())
        for start in range(0, len(x), 1024):
            frame = av.AudioFrame.from_ndarray(x[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = start + round(late_s * rate)
            container.mux(streams[0].encode(frame))
        container.mux(streams[0].encode())


def test_a_wav_is_read_back_to_16_bits(tmp_path):
    x = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    audio.write(tmp_path / "a" / "x.wav", x)
    y = audio.read(tmp_path / "a" / "x.wav")
    assert y.dtype == np.float32 and np.abs(x - y).max() <= 1 / 32768
    info = soundfile.info(tmp_path / "a" / "x.wav")
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    audio.write(tmp_path / "a" / "y.wav", y)
    assert np.array_equal(audio.read(tmp_path / "a" / "y.wav"), y)  # exact from then on
    assert [p.name for p in sorted((tmp_path / "a").iterdir())] == ["x.wav", "y.wav"]


def test_other_rates_and_channels_become_16_khz_mono_and_the_log_says_so(tmp_path, caplog):
    x = np.stack([tone(1, 22050), np.zeros(22050)], axis=1)
    soundfile.write(tmp_path / "x.flac", x, 22050)
    audio.log_resampled.cache_clear()
    with caplog.at_level(logging.INFO):
        y = audio.read(tmp_path / "x.flac")
    assert len(y) == 16000 and pitch(y) == pytest.approx(440, abs=1)
    assert np.abs(y).max() == pytest.approx(0.25, abs=0.01)
    assert "22050 Hz is resampled to 16000" in caplog.text


def test_the_audio_of_a_video_is_in_time(tmp_path):
    x = np.zeros(16000, np.float32)
    x[8000:8100] = tone(100 / 16000, 16000, 2000)
    write_media(tmp_path / "x.mp4", x, 16000)
    y = audio.read(tmp_path / "x.mp4")
    assert abs(len(y) - 16000) < 1024 * 2
    assert abs(int(np.abs(y).argmax()) - 8050) < 60


def test_audio_that_begins_after_the_video_is_moved_back(tmp_path):
    write_media(tmp_path / "x.mp4", tone(0.5, 16000), 16000, late_s=0.4)
    y = audio.read(tmp_path / "x.mp4")
    began = int((np.abs(y) > 0.1).argmax())
    assert began == pytest.approx(0.4 * 16000, abs=400)


def test_audio_alone_is_read_from_a_media_file(tmp_path):
    write_media(tmp_path / "x.m4a", tone(1, 44100), 44100, with_video=False)
    assert pitch(audio.read(tmp_path / "x.m4a")) == pytest.approx(440, abs=2)


def test_what_cannot_be_read_says_why(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4 does not exist"):
        audio.read(tmp_path / "gone.mp4")
    for name in ("x.mp4", "x.wav"):
        (tmp_path / name).write_bytes(b"this is no media file" * 100)
        with pytest.raises(ValueError, match=rf"{name}: its audio cannot be decoded"):
            audio.read(tmp_path / name)
    write_media(tmp_path / "y.mp4", tone(1, 16000), 16000)
    whole = (tmp_path / "y.mp4").read_bytes()
    (tmp_path / "y.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"y.mp4: its audio cannot be decoded"):
        audio.read(tmp_path / "y.mp4")
    soundfile.write(tmp_path / "z.wav", np.zeros(0), 16000)
    with pytest.raises(ValueError, match=r"z\.wav has no audio"):
        audio.read(tmp_path / "z.wav")


@pytest.mark.parametrize("worst", [1.01, -1.5, float("nan")])
def test_what_would_be_cut_off_is_refused(tmp_path, worst):
    with pytest.raises(ValueError, match="beyond 1: scale them first"):
        audio.write(tmp_path / "x.wav", np.array([0.1, worst]))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    audio.write(tmp_path / "x.wav", tone(0.1, 16000))
    before = (tmp_path / "x.wav").read_bytes()

    def half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        audio.write(tmp_path / "x.wav", tone(0.2, 16000))
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]
    assert (tmp_path / "x.wav").read_bytes() == before

"""Reading and writing audio."""

import errno
import logging
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition

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


def write_parts(path: Path, parts: list[tuple[float, np.ndarray]], video_s: float = 0.0) -> None:
    """Sound at 16 kHz whose parts begin at the given seconds; a second of video begins at another.

    Matroska with PCM keeps the time stamps as they are.
    """
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=16000)
        sound.layout = "mono"
        images = container.add_stream("libx264", rate=25)
        images.width, images.height, images.pix_fmt = 32, 32, "yuv420p"
        packets = []
        for k in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32), 90, np.uint8), format="gray")
            frame.pts, frame.time_base = k + round(video_s * 25), Fraction(1, 25)
            packets += images.encode(frame)
        packets += images.encode()
        for begin, x in parts:
            for start in range(0, len(x), 800):
                piece = audio.to_int16(x[None, start : start + 800])
                frame = av.AudioFrame.from_ndarray(piece, "s16p", "mono")
                frame.sample_rate, frame.time_base = 16000, Fraction(1, 16000)
                frame.pts = start + round(begin * 16000)
                packets += sound.encode(frame)
        packets += sound.encode()
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            container.mux(packet)


def click(seconds: float, at: float) -> np.ndarray:
    """Silence with a sample of 0.5 at second `at`."""
    x = np.zeros(round(seconds * 16000), np.float32)
    x[round(at * 16000)] = 0.5
    return x


@pytest.mark.parametrize(
    "sound_s, video_s, heard_s",
    [
        pytest.param(0.0, 0.0, 0.5, id="both begin at once"),
        pytest.param(0.24, 0.0, 0.74, id="the sound begins 240 ms late: silence before it"),
        pytest.param(0.0, 0.2, 0.3, id="the video begins 200 ms late: the first sound is cut off"),
        pytest.param(0.4, 0.2, 0.7, id="both begin late"),
    ],
)
def test_sound_and_video_stay_together(tmp_path, sound_s, video_s, heard_s):
    write_parts(tmp_path / "x.mkv", [(sound_s, click(0.8, 0.5))], video_s)
    y = audio.read(tmp_path / "x.mkv")
    assert np.abs(y).argmax() / 16000 == pytest.approx(heard_s, abs=0.002)
    assert len(y) == pytest.approx((0.8 + sound_s - video_s) * 16000, abs=32)


def test_a_gap_in_the_time_stamps_is_silence_and_the_log_says_so(tmp_path, caplog):
    write_parts(tmp_path / "x.mkv", [(0.0, tone(0.3, 16000)), (0.7, click(0.3, 0.1))])
    y = audio.read(tmp_path / "x.mkv")
    assert len(y) == pytest.approx(16000, abs=16)
    assert np.flatnonzero(y)[-1] / 16000 == pytest.approx(0.8, abs=0.002)
    assert not y[4900:11100].any() and np.abs(y[:4700]).max() > 0.4
    assert "x.mkv: its audio has gaps; 0.40 s are silence instead" in caplog.text


def test_sound_that_comes_twice_is_heard_once(tmp_path):
    write_parts(tmp_path / "x.mkv", [(0.0, tone(0.5, 16000)), (0.4, click(0.4, 0.2))])
    y = audio.read(tmp_path / "x.mkv")
    assert len(y) == pytest.approx(0.8 * 16000, abs=32)
    assert np.flatnonzero(y)[-1] / 16000 == pytest.approx(0.6, abs=0.003)


def test_rounded_time_stamps_are_no_gaps(tmp_path, caplog):
    """Matroska has whole milliseconds; AAC at 44.1 kHz has a frame each 23.22."""
    x = tone(1, 44100)
    write_media(tmp_path / "x.mkv", x, 44100)
    y = audio.read(tmp_path / "x.mkv", 44100)
    error = y[3000:40000] - x[3000:40000]
    assert np.sqrt(np.mean(error**2)) < 0.02 and "silence" not in caplog.text


def test_time_stamps_that_jump_are_refused(tmp_path, refused):
    write_parts(tmp_path / "x.mkv", [(0.0, tone(0.3, 16000)), (60.0, tone(0.3, 16000))])
    with refused("time stamps that jump", r"x\.mkv: its time stamps jump by 59\.7 s at 0\.3 s"):
        audio.read(tmp_path / "x.mkv")


@pytest.mark.parametrize(
    "layout, gains",
    [
        pytest.param("mono", [1], id="mono"),
        pytest.param("stereo", [0.5, 0.5], id="stereo: the mean"),
        pytest.param("5.1", [1, 1, 2**0.5, 0, 0.5**0.5, 0.5**0.5], id="5.1: as FFmpeg mixes it"),
        pytest.param("7.1", [1, 1, 2**0.5, 0, *[0.5**0.5] * 4], id="7.1: as FFmpeg mixes it"),
    ],
)
@pytest.mark.parametrize("suffix", [".mkv", ".wav"])
def test_channels_are_mixed_as_ffmpeg_does(tmp_path, layout, gains, suffix):
    """FFmpeg's own mix of 16-bit samples, which is scaled so that it cannot overflow."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3000, 3000, (len(gains), 4096)).astype(np.int16)
    with av.open(str(tmp_path / f"x{suffix}"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout=layout)
        frame = av.AudioFrame.from_ndarray(x.T.reshape(1, -1).copy(), "s16", layout)
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode()])
    y = audio.read(tmp_path / f"x{suffix}")
    mixer = av.AudioResampler(format="s16p", layout="mono", rate=16000)
    (theirs,) = mixer.resample(frame)
    assert np.abs(y * 32768 - theirs.to_ndarray()[0]).max() <= 1
    np.testing.assert_allclose(y * 32768, np.array(gains) / sum(gains) @ x, atol=0.01)


def test_an_unusual_order_of_channels_does_not_end_the_process(tmp_path):
    """PyAV 18 frees the map of such channels twice."""
    code = """if True:
        import sys, av, numpy as np
        from mome.data import audio
        with av.open(sys.argv[1], "w") as container:
            stream = container.add_stream("pcm_s16le", rate=16000, layout="7.1")
            x = np.full((1, 8 * 4096), 1000, np.int16)
            frame = av.AudioFrame.from_ndarray(x, "s16", "7.1")
            frame.sample_rate = 16000
            container.mux([*stream.encode(frame), *stream.encode()])
        for _ in range(10):
            assert abs(audio.read(sys.argv[1]) * 32768 - 1000).max() < 1
    """
    command = [sys.executable, "-c", code, str(tmp_path / "x.mov")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_of_two_streams_the_default_is_read(tmp_path):
    for default in (0, 1):
        with av.open(str(tmp_path / "x.mkv"), "w") as container:
            streams = [container.add_stream("pcm_s16le", rate=16000) for _ in range(2)]
            for k, stream in enumerate(streams):
                stream.layout = "mono"
                stream.disposition = Disposition.default if k == default else Disposition(0)
            for k, stream in enumerate(streams):
                x = np.full((1, 1600), 1000 * (k + 1), np.int16)
                frame = av.AudioFrame.from_ndarray(x, "s16", "mono")
                frame.sample_rate = 16000
                container.mux([*stream.encode(frame), *stream.encode()])
        assert audio.read(tmp_path / "x.mkv")[800] * 32768 == 1000 * (default + 1)


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 44100, 48000])
def test_resampling_is_as_the_ideal_in_the_pass_band(rate):
    """A sum of tones up to 92 % of the band, which is known at any time. FFmpeg: 37 to 44 dB."""
    hertz = np.linspace(60, 0.46 * min(rate, 16000), 40)
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, 40)

    def tones(new_rate: int) -> np.ndarray:
        t = np.arange(new_rate)[:, None] / new_rate
        return np.sin(2 * np.pi * hertz * t + phases).mean(axis=1)

    y, ideal = audio.resample(tones(rate).astype(np.float32), rate, 16000), tones(16000)
    assert len(y) == 16000
    error = (y - ideal)[1000:-1000]
    assert 10 * np.log10(np.mean(ideal**2) / np.mean(error**2)) > 90


def test_what_would_be_mirrored_is_held_off():
    x = tone(1, 44100, 9500)  # would come out as 6,500 Hz
    assert np.abs(audio.resample(x, 44100, 16000)[1000:-1000]).max() < 0.5e-4


def test_silence_is_read_and_known(tmp_path):
    write_media(tmp_path / "x.mp4", np.zeros(16000, np.float32), 16000)
    assert audio.is_silent(audio.read(tmp_path / "x.mp4"))
    assert not audio.is_silent(np.array([0, 1 / 32768]))


def test_sound_that_cannot_be_decoded_is_silence_up_to_a_tenth(tmp_path, caplog, refused):
    write_media(tmp_path / "x.mp4", tone(1, 16000), 16000)
    whole = (tmp_path / "x.mp4").read_bytes()
    with av.open(str(tmp_path / "x.mp4")) as container:
        places = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]

    def damage(number: int) -> None:
        data = bytearray(whole)
        for position, size in places[4 : 4 + number]:
            data[position : position + size] = b"\xff" * size
        (tmp_path / "x.mp4").write_bytes(data)

    damage(1)
    y = audio.read(tmp_path / "x.mp4")
    assert len(y) == pytest.approx(16000, abs=1100)
    assert "1 of 16 pieces of sound are damaged or missing" in caplog.text
    damage(4)
    with refused(
        "pieces of sound that cannot be decoded",
        r"x\.mp4: 4 of 1[67] pieces of sound are .*; at most 10%",
    ):
        audio.read(tmp_path / "x.mp4")


def test_audio_alone_is_read_from_a_media_file(tmp_path):
    write_media(tmp_path / "x.m4a", tone(1, 44100), 44100, with_video=False)
    assert pitch(audio.read(tmp_path / "x.m4a")) == pytest.approx(440, abs=2)


def test_what_cannot_be_read_says_why(tmp_path, refused):
    with refused("no file", r"gone\.mp4 does not exist", FileNotFoundError):
        audio.read(tmp_path / "gone.mp4")
    for name in ("x.mp4", "x.wav"):
        (tmp_path / name).write_bytes(b"this is no media file" * 100)
        with refused(f"no media: {name}", rf"{name}: its audio cannot be decoded"):
            audio.read(tmp_path / name)
    write_media(tmp_path / "y.mp4", tone(1, 16000), 16000)
    whole = (tmp_path / "y.mp4").read_bytes()
    (tmp_path / "y.mp4").write_bytes(whole[: len(whole) // 2])
    with refused("a file that was cut in half", r"y.mp4: its audio cannot be decoded"):
        audio.read(tmp_path / "y.mp4")
    soundfile.write(tmp_path / "z.wav", np.zeros(0), 16000)
    with refused("no samples", r"z\.wav has no audio"):
        audio.read(tmp_path / "z.wav")


@pytest.mark.parametrize("worst", [1.01, -1.5, float("nan")])
def test_what_would_be_cut_off_is_refused(tmp_path, worst, refused):
    with refused(f"samples of {worst}, to be written", "beyond 1: scale them first"):
        audio.write(tmp_path / "x.wav", np.array([0.1, worst]))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, refused):
    audio.write(tmp_path / "x.wav", tone(0.1, 16000))
    before = (tmp_path / "x.wav").read_bytes()

    def half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with refused("a full disk", "No space left", OSError):
        audio.write(tmp_path / "x.wav", tone(0.2, 16000))
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]
    assert (tmp_path / "x.wav").read_bytes() == before

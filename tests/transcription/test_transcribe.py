"""Recordings to text: what a recording may be, what happens to what it lacks, and errors."""

import errno
import logging
import os
import shutil
import socket
import time

import numpy as np
import pytest
import torch
from baby_recogniser import make_experiment, write_media

import mome
from mome.data import SAMPLE_RATE, audio, mouths
from mome.data.features import padded
from mome.decoding import decode, decode_scored

SCALE, MOST_SECONDS = "a16_v5", 60  # for one file, on a busy machine


@pytest.fixture(scope="module")
def exp_dir(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def model(exp_dir):
    return mome.load_model(exp_dir, "cpu")


@pytest.fixture(scope="module")
def head(performance) -> tuple[np.ndarray, np.ndarray]:
    """A second of a talking head: images (25, H, W, 3) and samples at 16 kHz."""
    start = 10
    images = performance.images[start : start + 25]
    samples = performance.waveform[start * 640 : (start + 25) * 640] / 32768
    return images, samples.astype(np.float32)


@pytest.fixture(scope="module")
def clip(head, tmp_path_factory):
    return write_media(tmp_path_factory.mktemp("clips") / "head.mp4", *head)


def read(model, path, **options):
    return mome.transcribe(model, path, SCALE, landmarks_every=5, **options)


# ---- what is read -------------------------------------------------------------------------------


def test_a_clip_gives_what_stages_1_2_and_4_give(model, clip):
    """The same functions, called one after the other as the stages do."""
    found = read(model, clip)
    mouth, _ = mouths.mouths_of(clip, every=5)
    frames = {
        "audio": model.encoders["audio"]([audio.read(clip)]),
        "video": model.encoders["video"]([mouth]),
    }
    batch = padded("audio", frames["audio"]) | padded("video", frames["video"])
    scale = next(s for s in model.scales if str(s) == SCALE)
    search = model.config.decode
    with torch.inference_mode():
        assert [found.text] == decode(model.model, model.tokenizer, batch, scale, search)
        (scored,) = decode_scored(model.model, model.tokenizer, batch, scale, search)
    (segment,) = found.segments
    assert found.text and (found.task, found.scale) == ("avsr", SCALE) and found.warnings == []
    assert (segment.start, segment.end) == (
        0,
        pytest.approx(found.seconds),
    ) and segment.task == "avsr"
    assert segment.score == pytest.approx(scored.score, abs=0.05)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_score_is_the_mean_log_probability_of_the_tokens(model, clip, num_beams):
    frames = model.encoders["audio"]([audio.read(clip), audio.read(clip)[:9000]])
    video = [torch.randn(len(f) // 2, model.encoders["video"].dim) for f in frames]
    batch = padded("audio", frames) | padded("video", video)
    search = mome.config.DecodeConfig(num_beams=num_beams, tokens_per_second=1, extra_tokens=2)
    with torch.inference_mode():
        found = decode_scored(model.model, model.tokenizer, batch, model.scales[0], search)
        prompts = model.model.prompts(model.scales[0], **batch)
        for hypothesis, prompt in zip(found, prompts, strict=True):
            ids = model.tokenizer(hypothesis.text, add_special_tokens=False).input_ids
            ids = [*ids, model.model.eos]
            if len(ids) != hypothesis.num_tokens:
                continue  # the text does not say which tokens it was made of
            embed = model.model.llm.get_input_embeddings()
            logits = model.model.llm(
                inputs_embeds=torch.cat([prompt, embed(torch.tensor(ids))])[None]
            ).logits
            logs = logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            mean = logs[range(len(ids)), ids].mean()
            assert hypothesis.score == pytest.approx(float(mean), abs=1e-3)
            assert hypothesis.num_prompt_tokens == len(prompt)


def test_files_in_batches_give_what_each_gives_alone(model, head, clip, tmp_path):
    short = write_media(tmp_path / "short.mp4", head[0][:15], head[1][:9600])
    paths = [clip, tmp_path / "none.mp4", short, clip, clip, short]
    found = [r for _, r in mome.transcribe_all(model, paths, SCALE, landmarks_every=5)]
    assert isinstance(found[1], FileNotFoundError)
    alone = {path: read(model, path).text for path in (clip, short)}
    assert [r.text for k, r in enumerate(found) if k != 1] == [
        alone[p] for k, p in enumerate(paths) if k != 1
    ]


def test_a_long_recording_is_cut_and_its_times_are_kept(model, head, tmp_path):
    images, samples = head
    quiet = np.zeros(2 * SAMPLE_RATE, np.float32)
    still = np.repeat(images[:1], 50, axis=0)
    path = write_media(
        tmp_path / "long.mp4",
        np.concatenate([images, still, images, still]),
        np.concatenate([samples, quiet, samples, quiet]),
    )
    texts = []
    found = read(model, path, most_s=1.5, on_text=texts.append)
    starts = [segment.start for segment in found.segments]
    assert len(found.segments) >= 2 and starts == sorted(starts)
    assert all(s.end - s.start <= 1.5 for s in found.segments)
    assert all((start + 0.4) % 3 < 1.7 for start in starts)  # 0.4: what is kept before speech
    assert texts[-1] == found.text and len(texts) > len(found.segments)


def test_a_stream_that_is_not_there_is_zeros_and_said_so(model, head, tmp_path, clip):
    images, samples = head
    silent = write_media(tmp_path / "silent.mp4", images)
    found = read(model, silent)
    assert (found.task, found.warnings) == ("vsr", ["it has no sound"]) and found.segments
    wav = tmp_path / "sound.wav"
    audio.write(wav, samples)
    found = read(model, wav)
    assert (found.task, found.warnings) == ("asr", ["it has no video"]) and found.segments
    grey = write_media(tmp_path / "grey.mp4", np.full_like(images, 128), samples)
    found = read(model, grey)
    assert (found.task, found.warnings) == ("asr", ["no face is seen long enough"])
    audio.write(wav, audio.read(clip))
    assert read(model, clip, task="asr").text == read(model, wav).text
    with pytest.raises(ValueError, match="cannot be transcribed: it has no sound; no face"):
        read(model, write_media(tmp_path / "nothing.mp4", np.full_like(images, 128)))


def test_silence_has_no_text(tmp_path, model):
    audio.write(tmp_path / "silence.wav", np.zeros(SAMPLE_RATE, np.float32))
    found = read(model, tmp_path / "silence.wav")
    assert (found.text, found.segments) == ("", []) and "its sound is silent" in found.warnings


def test_a_model_of_three_tasks_leaves_out_what_is_not_there(tmp_path, head):
    model = mome.load_model(make_experiment(tmp_path, "all"), "cpu")
    audio.write(tmp_path / "sound.wav", head[1])
    (segment,) = read(model, tmp_path / "sound.wav").segments
    found = mome.transcribe(model, tmp_path / "sound.wav", "a16").segments[0]
    assert found == segment and segment.task == "asr"


def test_scale_and_task_must_be_ones_of_the_model(model, clip, caplog):
    with pytest.raises(ValueError, match=r"scale a4 is of task asr, but .* was trained for avsr"):
        mome.transcribe(model, clip, "a4")
    with pytest.raises(ValueError, match="a scale is written a4, v2 or a4_v2"):
        mome.transcribe(model, clip, "4_2")
    with caplog.at_level(logging.WARNING):
        assert mome.transcribe(model, clip, "a8_v3", landmarks_every=5).scale == "a8_v3"
    assert "scale a8_v3 was not trained" in caplog.text
    assert mome.transcribe(model, clip, landmarks_every=5).scale == "a4_v2"


# ---- bad files ----------------------------------------------------------------------------------


def truncated(path, share: float):
    """The beginning of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def raw(path, data: bytes):
    path.write_bytes(data)
    return path


def wav_of(path, samples, rate=SAMPLE_RATE, subtype="PCM_16"):
    import soundfile

    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def at(path, function, *args):
    function(path, *args)
    return path


def bind(path):
    """Make a socket; its path must be short, so it is a relative one."""
    socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))


def bad_files(d, images, samples) -> dict[str, object]:
    """Name of a case -> a function that makes its file in folder `d`."""
    silence, few = np.zeros(8000, np.float32), images[:5]
    media = {
        "mp4": {}, "mkv": {}, "avi": {}, "ts": {"codec": "mpeg2video", "sound_codec": "mp2"},
        "webm": {"codec": "libvpx", "sound_codec": "libopus", "rate": 48000},
        "faststart.mp4": {"options": {"movflags": "+faststart"}},
    }  # fmt: skip
    cases: dict[str, object] = {}
    for name, options in media.items():
        for share in (0.003, 0.1, 0.5, 0.9, 0.995) if name != "avi" else (0.02, 0.7):
            cases[f"{name} cut at {share}"] = lambda n=name, o=options, s=share: truncated(
                write_media(
                    d / f"cut{s}.{n}",
                    images[:15],
                    np.repeat(samples, 3)[:28800] if "rate" in o else samples[:9600],
                    **o,
                ),
                s,
            )
    for fps in (1, 5, 23.976, 29.97, 50, 60, 240):
        n = max(2, round(0.4 * fps))
        cases[f"{fps} fps"] = lambda f=fps, n=n: write_media(
            d / "fps.mp4", images[np.linspace(0, 9, n).astype(int)], samples[:6400], fps=f
        )
    for rate in (8000, 11025, 22050, 44100, 48000, 96000):
        cases[f"{rate} Hz"] = lambda r=rate: wav_of(d / f"r{r}.wav", np.resize(samples, r // 2), r)
    for layout in ("stereo", "5.1"):
        cases[layout] = lambda n=layout: write_media(d / f"{n}.mp4", few, samples[:3200], layout=n)
    sizes = {
        "2x2": (2, 2),
        "16x16": (16, 16),
        "4K": (2160, 3840),
        "wide": (32, 2000),
        "tall": (640, 36),
    }
    for name, (h, w) in sizes.items():
        cases[name] = lambda h=h, w=w: write_media(
            d / f"{h}.mkv", np.resize(images[:2], (2, h, w, 3)), samples[:1280], codec="ffv1"
        )
    for pixels in ("yuv420p10le", "yuv444p", "gray", "gray16le", "bgr0"):
        cases[pixels] = lambda p=pixels: write_media(
            d / f"{p}.mkv", few, samples[:3200], codec="ffv1", pixels=p
        )
    uneven = [0, 0.01, 0.2, 0.21, 0.5]
    cases |= {
        "7.1": lambda: shutil.copy(
            wav_of(d / "8.wav", np.stack([samples] * 8, axis=1)), d / "7.1.mp4"
        ),
        "variable rate": lambda: write_media(d / "vfr.mkv", few, samples[:9600], times=uneven),
        "one image": lambda: write_media(d / "one.mp4", images[:1], samples[:640]),
        "one image, no sound": lambda: write_media(d / "still.mp4", images[:1]),
        "video longer": lambda: write_media(d / "longer.mp4", images, samples[:3200]),
        "sound longer": lambda: write_media(d / "shorter.mp4", few, samples),
        "sound alone, mp3": lambda: write_media(d / "a.mp3", None, samples, sound_codec="mp3"),
        "sound alone, flac": lambda: wav_of(d / "a.flac", samples),
        "24 bits": lambda: wav_of(d / "24.wav", samples, subtype="PCM_24"),
        "8 bits": lambda: wav_of(d / "8.wav", samples, subtype="PCM_U8"),
        "above full scale": lambda: wav_of(d / "loud.wav", 30 * samples, subtype="FLOAT"),
        "not a number": lambda: wav_of(d / "nan.wav", samples * np.nan, subtype="FLOAT"),
        "infinite": lambda: wav_of(d / "inf.wav", samples + np.inf, subtype="FLOAT"),
        "one sample": lambda: wav_of(d / "1.wav", samples[:1]),
        "no sample": lambda: wav_of(d / "0.wav", samples[:0]),
        "10 ms": lambda: wav_of(d / "10.wav", samples[:160]),
        "silence": lambda: wav_of(d / "silence.wav", silence),
        "constant": lambda: wav_of(d / "dc.wav", silence + 0.5),
        "wav cut in its header": lambda: truncated(wav_of(d / "h.wav", samples), 0.001),
        "wav cut": lambda: truncated(wav_of(d / "c.wav", samples), 0.5),
        "video called wav": lambda: write_media(d / "v.wav", few, samples[:3200], form="mp4"),
        "wav called mp4": lambda: shutil.copy(wav_of(d / "w.wav", samples), d / "w.mp4"),
        "no suffix": lambda: shutil.copy(wav_of(d / "n.wav", samples), d / "nosuffix"),
        "text called mp4": lambda: raw(d / "text.mp4", b"hello there\n" * 50),
        "empty": lambda: raw(d / "empty.mp4", b""),
        "one byte": lambda: raw(d / "byte.mp4", b"x"),
        "random": lambda: raw(d / "r.mp4", np.random.default_rng(0).bytes(50_000)),
        "zeros": lambda: raw(d / "z.mp4", bytes(50_000)),
        "a picture": lambda: write_media(
            d / "p.png", images[:1], codec="png", pixels="rgb24", form="image2pipe"
        ),
        "a gif": lambda: write_media(d / "a.gif", few, codec="gif", pixels="rgb8"),
        "playlist": lambda: raw(d / "l.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n"),
        "list of files": lambda: raw(d / "l.txt", b"ffconcat version 1.0\nfile a.mp3\n"),
        "subtitles": lambda: raw(d / "s.srt", b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"),
        "missing": lambda: d / "none.mp4",
        "name too long": lambda: d / ("x" * 300 + ".mp4"),
        "zero byte in name": lambda: f"{d}/a\0b.mp4",
        "folder": lambda: at(d / "folder.mp4", os.mkdir),
        "pipe": lambda: at(d / "pipe.mp4", os.mkfifo),
        "socket": lambda: at(d / "s.mp4", bind),
        "endless": lambda: "/dev/zero",
        "link to itself": lambda: at(d / "loop.mp4", lambda p: os.symlink(p, p)),
        "link to nothing": lambda: at(d / "link.mp4", lambda p: os.symlink(d / "no", p)),
    }  # fmt: skip
    for name in ("with space", "été", "a'b\"c", "50%", "-x", "a[0:2]", "a\nb", "a;b&c", "日本"):
        cases[f"name {name!r}"] = lambda n=name: shutil.copy(
            wav_of(d / "x.wav", samples), d / f"{n}.wav"
        )
    return cases


MUST_FAIL = {
    "not a number", "infinite", "no sample", "wav cut in its header", "text called mp4", "empty",
    "one byte", "random", "zeros", "playlist", "list of files", "missing", "name too long",
    "zero byte in name", "folder", "pipe", "endless", "link to itself", "link to nothing",
    "mp4 cut at 0.1", "mp4 cut at 0.5", "mp4 cut at 0.9", "mkv cut at 0.003",
}  # fmt: skip
MUST_WORK = {
    "23.976 fps", "29.97 fps", "50 fps", "240 fps", "8000 Hz", "96000 Hz", "stereo", "5.1", "7.1",
    "yuv420p10le", "gray16le", "variable rate", "one image", "video longer", "sound longer",
    "sound alone, mp3", "24 bits", "8 bits", "above full scale", "silence", "wav called mp4",
    "no suffix", "name 'été'", "name '-x'", "name 'a[0:2]'", "4K",
}  # fmt: skip


def test_a_file_that_may_not_be_read_is_named_with_the_reason(model, clip, monkeypatch):
    def forbidden(path, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(type(clip), "open", forbidden)
    with pytest.raises(ValueError, match=r"head\.mp4 cannot be read: Permission denied$"):
        read(model, clip)


def test_any_file_gives_a_text_or_an_error_of_one_line(model, head, tmp_path, monkeypatch, tell):
    (tmp_path / "files").mkdir()
    cases, seen, wrong = bad_files(tmp_path / "files", *head), {}, {}
    assert len(cases) >= 60
    monkeypatch.chdir(tmp_path / "files")
    for name, make in cases.items():
        path = make()
        start = time.monotonic()
        ((file, found),) = mome.transcribe_all(model, [path], SCALE, landmarks_every=5)
        if time.monotonic() - start > MOST_SECONDS or file != str(path):
            wrong[name] = f"{time.monotonic() - start:.0f} s"
        seen[name] = found
        if isinstance(found, Exception):
            tell(f"a file: {name}", found)
        else:
            warnings = "; ".join(found.warnings) or "no warning"
            tell(f"a file: {name}", f"transcribed as {found.task}, {warnings}")
    assert not wrong
    failed = {name for name, found in seen.items() if isinstance(found, Exception)}
    assert failed >= MUST_FAIL & cases.keys() and not failed & MUST_WORK
    assert cases.keys() >= MUST_FAIL | MUST_WORK

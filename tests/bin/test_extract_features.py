"""Stage 2: nothing lost, the same numbers whatever the jobs, a second run that does nothing."""

import json
import shutil

import numpy as np
import pytest
import torch

from mome.avhubert import AVHuBERT, AVHuBERTConfig
from mome.bin.extract_features import main
from mome.bin.make_baby import make_whisper
from mome.compression import compress
from mome.data import ark, audio, datadir, video
from mome.data.datadir import DataDir
from mome.data.dataset import Archives, FeatureDataset, Pick
from mome.data.extraction import averaged
from mome.encoders import width_of

NUM_FRAMES = {"ann-00001": 9, "ann-00002": 14, "bob-00001": 11, "cid-00001": 8, "cid-00002": 10}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    make_whisper(folder / "whisper")
    AVHuBERT(
        AVHuBERTConfig(
            dim=16, ffn_dim=32, num_layers=1, num_heads=2, position_kernel=4, position_groups=2,
            frontend_dim=4, frontend_stride=4, resnet_dims=(4, 8), resnet_blocks=(1, 1),
            audio_dim=0,
        )
    ).save(folder / "video")  # fmt: skip
    return ["--audio_encoder", str(folder / "whisper"), "--video_encoder", str(folder / "video")]


@pytest.fixture
def corpus(tmp_path):
    """Five utterances of three speakers, with crops."""
    rng = np.random.default_rng(0)
    wav, crops = {}, {}
    for utterance, n in NUM_FRAMES.items():
        wav[utterance] = str(tmp_path / f"{utterance}.wav")
        audio.write(wav[utterance], 0.1 * rng.standard_normal(n * 640).astype(np.float32), 16000)
        crops[utterance] = str(tmp_path / f"mouths/{utterance}.mouth")
        (tmp_path / "mouths").mkdir(exist_ok=True)
        mouth = np.zeros((n, 96, 96), np.uint8) + rng.integers(0, 255, (n, 1, 1), dtype=np.uint8)
        video.write_mouth(crops[utterance], mouth)
    data = DataDir(
        wav=wav,
        video=wav,
        text={u: f"words of {u.replace('-', ' ')}" for u in wav},
        utt2spk={u: u.split("-")[0] for u in wav},
        utt2dur={u: n / 25 for u, n in NUM_FRAMES.items()},
    )
    datadir.write(tmp_path / "data/train", data)
    write_crops(tmp_path, crops)
    return tmp_path


def write_crops(corpus, crops):
    lines = "".join(f"{u} {path}\n" for u, path in sorted(crops.items()))
    (corpus / "mouths/mouths.scp").write_text(lines)


def extract(corpus, encoders, *options, out="feats/train", data="data/train"):
    main([str(corpus / data), str(corpus / "mouths"), str(corpus / out), *encoders, *options])
    return corpus / out


def features(folder, name):
    return {u: ark.load(entry) for u, entry in ark.read_scp(folder / name).items()}


def test_every_table_has_every_utterance_and_its_length(corpus, encoders):
    feats = extract(corpus, encoders)
    for name, frames_a_picture in (("audio", 2), ("video", 1)):
        found = features(feats, f"{name}.scp")
        expected = {u: n * frames_a_picture for u, n in NUM_FRAMES.items()}
        assert {u: len(x) for u, x in found.items()} == expected
        table = "utt2num_frames" if name == "audio" else "utt2num_video_frames"
        assert {u: int(n) for u, n in datadir.read_table(feats / table).items()} == expected
    assert datadir.read_table(feats / "text") == datadir.read(corpus / "data/train").text
    info = json.loads((feats / "feats.json").read_text())
    assert info["audio_encoder"] == encoders[1] and info["video_dim"] == 16
    assert len(info["audio_sha256"]) == len(info["video_sha256"]) == 64


@pytest.mark.slow
def test_the_numbers_do_not_depend_on_the_number_of_jobs(corpus, encoders):
    options = ["--num_noisy_copies", "1"]
    one = extract(corpus, encoders, *options, out="one")
    two = extract(corpus, encoders, *options, "--num_jobs", "2", out="two")
    for name in ("audio.scp", "video.scp", "audio_noisy1.scp"):
        a, b = features(one, name), features(two, name)
        assert list(a) == list(b)
        for utterance in a:
            np.testing.assert_array_equal(a[utterance], b[utterance])
    assert (one / "noisy1.tsv").read_text() == (two / "noisy1.tsv").read_text()


def test_jobs_run_one_by_one_and_merge(corpus, encoders):
    whole = extract(corpus, encoders, out="whole")
    for i in (2, 1, 3):
        extract(corpus, encoders, "--job", f"{i}/3", out="parts")
    parts = extract(corpus, encoders, "--merge", "--num_jobs", "3", out="parts")
    for name in ("audio.scp", "video.scp"):
        a, b = features(whole, name), features(parts, name)
        assert list(a) == list(b) and all(np.array_equal(a[u], b[u]) for u in a)
    assert (whole / "utt2num_frames").read_text() == (parts / "utt2num_frames").read_text()


def test_merging_without_a_job_names_it(corpus, encoders):
    extract(corpus, encoders, "--job", "1/2")
    with pytest.raises(ValueError, match="--job 2/2"):
        extract(corpus, encoders, "--merge", "--num_jobs", "2")


def test_a_second_run_does_nothing_and_another_option_does(corpus, encoders):
    feats = extract(corpus, encoders)
    before = {p: p.stat().st_mtime_ns for p in feats.rglob("*") if p.is_file()}
    extract(corpus, encoders)
    assert before == {p: p.stat().st_mtime_ns for p in feats.rglob("*") if p.is_file()}
    extract(corpus, encoders, "--num_noisy_copies", "1")
    assert (feats / "audio_noisy1.scp").exists()
    extract(corpus, encoders)
    assert not (feats / "audio_noisy1.scp").exists()


def test_noisy_copies_are_in_the_voices_of_others_and_repeat(corpus, encoders):
    options = ["--num_noisy_copies", "2", "--noisy_snrs", "-5", "0", "--num_voices", "2"]
    a = extract(corpus, encoders, *options, out="a")
    b = extract(corpus, encoders, *options, out="b")
    clean, first, second = (
        features(a, n) for n in ("audio.scp", "audio_noisy1.scp", "audio_noisy2.scp")
    )
    again = features(b, "audio_noisy1.scp")
    for utterance in clean:
        assert clean[utterance].shape == first[utterance].shape
        assert not np.array_equal(clean[utterance], first[utterance])
        assert not np.array_equal(second[utterance], first[utterance])
        np.testing.assert_array_equal(first[utterance], again[utterance])
    for line in (a / "noisy1.tsv").read_text().splitlines()[1:]:
        utterance, snr, voices = line.split("\t")
        assert float(snr) in (-5, 0) and len(voices.split(",")) == 2
        assert all(v.split("-")[0] != utterance.split("-")[0] for v in voices.split(","))


def test_noise_may_be_made_or_come_from_files(corpus, encoders):
    noise_dir = corpus / "noise"
    audio.write(noise_dir / "hum.wav", np.sin(np.arange(5000)).astype(np.float32), 16000)
    sources = {
        "pink": (["--noise", "pink"], "-"),
        "shaped": (["--noise", "speech_shaped", "--num_voices", "1"], "-0000"),
        "files": (["--noise_dir", str(noise_dir)], "hum.wav@"),
    }
    for out, (options, source) in sources.items():
        feats = extract(corpus, encoders, "--num_noisy_copies", "1", *options, out=out)
        assert len(ark.read_scp(feats / "audio_noisy1.scp")) == len(NUM_FRAMES)
        lines = (feats / "noisy1.tsv").read_text().splitlines()[1:]
        assert all(source in line.split("\t")[2] for line in lines)


def test_what_the_crops_skipped_is_joined_by_id_and_counted(corpus, encoders, monkeypatch):
    crops = datadir.read_table(corpus / "mouths/mouths.scp")
    del crops["bob-00001"]
    write_crops(corpus, crops)
    with pytest.raises(ValueError, match=r"lacks 1 of 5 utterances.*bob-00001"):
        extract(corpus, encoders)
    datadir.write_skipped(corpus / "mouths", {"bob-00001": "no face"})
    with pytest.raises(ValueError, match=r"1 of 5 clips were left out.*no face"):
        extract(corpus, encoders)  # over 1 %
    monkeypatch.setattr(datadir, "MAX_SKIPPED", 0.5)
    feats = extract(corpus, encoders)
    assert datadir.read_skipped(feats) == {"bob-00001": "no face"}
    kept = sorted(set(NUM_FRAMES) - {"bob-00001"})
    for table in ("audio.scp", "video.scp", "text", "utt2num_frames"):
        assert sorted(datadir.read_table(feats / table)) == kept
    shutil.copytree(corpus / "data/train", corpus / "data/test")
    with pytest.raises(ValueError, match="a test set must be whole"):
        extract(corpus, encoders, data="data/test", out="feats/test")


def test_a_clip_whose_audio_and_video_differ_in_length_is_left_out(corpus, encoders, monkeypatch):
    monkeypatch.setattr(datadir, "MAX_SKIPPED", 0.5)
    audio.write(corpus / "cid-00002.wav", np.full(13 * 640, 0.1, np.float32), 16000)
    feats = extract(corpus, encoders)
    assert "cid-00002" not in datadir.read_table(feats / "text")
    assert "0.52 s, its video 0.40 s" in datadir.read_skipped(feats)["cid-00002"]


def test_one_stream_alone(corpus, encoders):
    args = [str(corpus / "data/train"), "none", str(corpus / "asr")]
    main([*args, *encoders[:2], "--video_encoder", "none"])
    assert not (corpus / "asr/video.scp").exists() and (corpus / "asr/audio.scp").exists()
    args = [str(corpus / "data/train"), str(corpus / "mouths"), str(corpus / "vsr")]
    main([*args, "--audio_encoder", "none", *encoders[2:]])
    assert (corpus / "vsr/video.scp").exists() and not (corpus / "vsr/audio.scp").exists()
    assert len(datadir.read_table(corpus / "vsr/text")) == len(NUM_FRAMES)


@pytest.mark.parametrize("options", [["--job", "3/2"], ["--job", "x"], ["--num_jobs", "0"]])
def test_wrong_options_are_usage_errors(corpus, encoders, options):
    with pytest.raises(SystemExit) as exit:
        extract(corpus, encoders, *options)
    assert exit.value.code == 2


def test_audio_stored_averaged_gives_the_same_tokens_and_takes_less(corpus, encoders):
    """Exact but for the two-byte storage: the last, partial group counts by its frames."""
    options = ["--store_rate", "4", "--num_noisy_copies", "1"]
    folders = extract(corpus, encoders, out="whole"), extract(corpus, encoders, *options, out="s4")
    whole, stored = (FeatureDataset(Archives(f, ["audio"]), str.split) for f in folders)
    assert stored.num_frames == whole.num_frames  # 18, 28, 22, 16, 20: not all multiples of 4
    sizes = [(f / "jobs/1of1/audio.ark").stat().st_size for f in folders]
    assert sizes[1] < 0.5 * sizes[0]  # small matrices: the headers count, too
    for k, utterance in enumerate(whole.utterances):
        (a,), (b,) = (d.source.frames("audio", [(utterance, Pick(k))]) for d in (whole, stored))
        assert a.shape == b.shape
        for rate in (4, 8, 16):
            expected, found = (compress(x[None], rate) for x in (a, b))
            torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    stored.check_rates([4, 16])
    with pytest.raises(ValueError, match=r"averaged over 4 frames .* gives no rate 6"):
        stored.check_rates([4, 6])


def test_means_of_means_are_exact():
    x = np.random.default_rng(0).normal(size=(23, 3))
    lengths = {}
    ((_, means),) = averaged(iter([("u", x)]), 4, lengths)
    assert lengths == {"u": 23} and len(means) == 6
    again = np.repeat(means, 4, axis=0)[:23]
    for start, stop in ((0, 16), (16, 23), (0, 8), (20, 23)):
        np.testing.assert_allclose(again[start:stop].mean(0), x[start:stop].mean(0), rtol=1e-12)


def test_it_says_how_much_disk_it_takes_and_stops_when_there_is_less(
    corpus, encoders, monkeypatch, caplog
):
    caplog.set_level("INFO")
    seconds = sum(NUM_FRAMES.values()) / 25
    values = seconds * (50 * 2 * width_of(encoders[1]) + 25 * 16)  # with a noisy copy
    free = shutil._ntuple_diskusage(0, 0, int(2 * values) - 1)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: free)
        with pytest.raises(ValueError, match=r"take .* are free: store audio averaged"):
            extract(corpus, encoders, "--num_noisy_copies", "1")
    assert not (corpus / "feats/train/feats.json").exists()
    feats = extract(corpus, encoders, "--num_noisy_copies", "1")
    assert "GB an hour" in caplog.text
    size = sum(path.stat().st_size for path in feats.glob("jobs/*/*.ark"))
    assert 2 * values < size < 2.6 * values  # headers, for these clips are very short

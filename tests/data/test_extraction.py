"""Stage 2: no utterance is lost, and noise, averages and disk space are as asked."""

import json
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import CLIPS, extract

from mome import encoders
from mome.compression import compress
from mome.data import AUDIO_FPS, SAMPLE_RATE, VIDEO_FPS, ark, audio, crops, datadir, extraction
from mome.data.dataset import FeatureDataset, Pick
from mome.data.extraction import averaged, batches_of, merge_scps, width_of
from mome.data.features import Archives
from mome.data.noise import Noise, waveform
from mome.encoders import load_audio_encoder


def features(feats_dir, name):
    return {u: ark.load(entry) for u, entry in ark.read_scp(feats_dir / name).items()}


def noise_lines(feats_dir, n=1):
    """Utterance, SNR and origin of the noise, from a list of noisy copies."""
    head, *lines = (feats_dir / f"noisy{n}.tsv").read_text().splitlines()
    assert head == "utterance\tsnr\tsource"
    return [line.split("\t") for line in lines]


def test_every_table_has_every_utterance_and_its_length(clips_dir, encoder_dirs):
    feats_dir = extract(clips_dir, encoder_dirs)
    for name, factor in (("audio", AUDIO_FPS // VIDEO_FPS), ("video", 1)):
        found = features(feats_dir, f"{name}.scp")
        expected = {u: n * factor for u, n in CLIPS.items()}
        assert {u: len(x) for u, x in found.items()} == expected
        table = "utt2num_frames" if name == "audio" else "utt2num_video_frames"
        assert {u: int(n) for u, n in datadir.read_table(feats_dir / table).items()} == expected
    text = datadir.read(clips_dir / "data/train").text
    assert datadir.read_table(feats_dir / "text") == text
    info = json.loads((feats_dir / "feats.json").read_text())
    assert info["audio_encoder"] == encoder_dirs["audio"] and info["video_dim"] == 16
    assert len(info["audio_sha256"]) == len(info["video_sha256"]) == 64
    assert list(info)[:3] == ["pad_to_30s", "num_noisy_copies", "video_encoder"]


def test_noisy_copies_are_in_the_voices_of_others_and_repeat(clips_dir, encoder_dirs):
    options = {"num_noisy_copies": 2, "noisy_snrs": (-5, 0), "num_voices": 2}
    a = extract(clips_dir, encoder_dirs, out="a", **options)
    b = extract(clips_dir, encoder_dirs, out="b", **options)
    clean, first, second = (
        features(a, n) for n in ("audio.scp", "audio_noisy1.scp", "audio_noisy2.scp")
    )
    repeated = features(b, "audio_noisy1.scp")
    for utterance in clean:
        assert clean[utterance].shape == first[utterance].shape
        assert not np.array_equal(clean[utterance], first[utterance])
        assert not np.array_equal(second[utterance], first[utterance])
        np.testing.assert_array_equal(first[utterance], repeated[utterance])
    assert [line[0] for line in noise_lines(a)] == list(CLIPS)
    for utterance, snr, voices in noise_lines(a):
        assert float(snr) in (-5, 0) and len(voices.split(",")) == 2
        assert all(v.split("-")[0] != utterance.split("-")[0] for v in voices.split(","))


@pytest.mark.parametrize("kind", ["babble", "speech_shaped", "pink", "white", "files"])
def test_noisy_copies_hold_the_noise_that_was_asked_for(kind, clips_dir, encoder_dirs):
    options = {"noise": kind, "num_voices": 1, "noisy_snrs": [0.0], "seed": 4}
    if kind == "files":
        hum = np.sin(np.arange(5000)).astype(np.float32)
        audio.write(clips_dir / "noise/hum.wav", hum)
        options |= {"noise": "babble", "noise_dir": clips_dir / "noise"}
    feats_dir = extract(clips_dir, encoder_dirs, num_noisy_copies=1, **options)
    stored, lines = features(feats_dir, "audio_noisy1.scp"), noise_lines(feats_dir)

    data = datadir.read(clips_dir / "data/train")
    source = Noise(options["noise"], [0.0], data, 1, options.get("noise_dir"))
    encoder = load_audio_encoder(encoder_dirs["audio"])
    assert [line[0] for line in lines] == list(stored) == list(CLIPS)
    for utterance, _, origin in lines:
        rng = np.random.default_rng([4, zlib.crc32(utterance.encode()), 1])
        speech = waveform(data.wav[utterance])
        noisy, _, expected_origin = source.add(speech, data.utt2spk[utterance], rng)
        assert origin == expected_origin
        (expected,) = encoder([noisy])
        np.testing.assert_allclose(stored[utterance], expected.numpy(), atol=2e-3)


def test_batches_hold_the_frames_that_each_clip_has_alone(clips_dir, encoder_dirs, monkeypatch):
    """All five clips run together, padded. Arks keep two bytes a value, so the limit is wider."""
    monkeypatch.setattr(encoders, "fast_dtype", lambda device: torch.float32)
    feats_dir = extract(clips_dir, encoder_dirs)
    data = datadir.read(clips_dir / "data/train")
    audio_encoder = encoders.load_audio_encoder(encoder_dirs["audio"])
    video_encoder = encoders.load_video_encoder(encoder_dirs["video"])
    mouths = datadir.read_table(clips_dir / "mouths/mouths.scp")
    for utterance, found in features(feats_dir, "audio.scp").items():
        (alone,) = audio_encoder([waveform(data.wav[utterance])])
        assert np.linalg.norm(found - alone.numpy()) < 2e-4 * alone.norm()
    for utterance, found in features(feats_dir, "video.scp").items():
        (alone,) = video_encoder([crops.read(mouths[utterance])])
        assert np.linalg.norm(found - alone.numpy()) < 2e-4 * alone.norm()


def test_jobs_share_the_batches_of_the_whole_set(clips_dir):
    data = datadir.read(clips_dir / "data/train")
    assert [sorted(b) for b in batches_of(data, CLIPS, 15)] == [sorted(CLIPS)]
    formed = batches_of(data, CLIPS, 1.1)  # seconds; a clip counts with 0.08 s to spare
    assert sorted(sorted(b) for b in formed) == [
        ["ann-00001", "cid-00001"],
        ["ann-00002"],
        ["bob-00001", "cid-00002"],
    ]


@pytest.mark.parametrize("lost", ["mouths/bob-00001.mouth", "bob-00001.wav"])
def test_a_clip_that_cannot_be_read_is_named_and_nothing_is_finished(
    lost, clips_dir, encoder_dirs, refused
):
    (clips_dir / lost).write_bytes(b"no media")
    with refused("a clip that cannot be encoded", "bob-00001 cannot be encoded"):
        extract(clips_dir, encoder_dirs)
    assert not list((clips_dir / "feats").rglob(".stamp.json"))
    assert not list((clips_dir / "feats").rglob("*.tmp"))


def test_what_the_crops_skipped_is_joined_by_id_and_counted(clips_dir, encoder_dirs, refused):
    crops = datadir.read_table(clips_dir / "mouths/mouths.scp")
    del crops["bob-00001"]
    ark.write_scp(clips_dir / "mouths/mouths.scp", crops)
    with refused("mouths of a clip are gone", r"lacks 1 of 5 utterances.*bob-00001"):
        extract(clips_dir, encoder_dirs)
    datadir.write_skipped(clips_dir / "mouths", {"bob-00001": "no face"})
    with refused("too many clips are left out", r"1 of 5 clips were left out.*no face"):
        extract(clips_dir, encoder_dirs)  # over 1 %
    feats_dir = extract(clips_dir, encoder_dirs, max_skipped=0.5)
    assert datadir.read_skipped(feats_dir) == {"bob-00001": "no face"}
    kept = sorted(set(CLIPS) - {"bob-00001"})
    for table in ("audio.scp", "video.scp", "text", "utt2num_frames"):
        assert sorted(datadir.read_table(feats_dir / table)) == kept
    shutil.copytree(clips_dir / "data/train", clips_dir / "data/test")
    with refused("a clip of a test set is left out", "a test set must be whole"):
        extract(clips_dir, encoder_dirs, data="test", out="test")


def test_a_clip_whose_audio_and_video_differ_in_length_is_left_out(clips_dir, encoder_dirs):
    longer = np.full(13 * SAMPLE_RATE // VIDEO_FPS, 0.1, np.float32)
    audio.write(clips_dir / "cid-00002.wav", longer)
    feats_dir = extract(clips_dir, encoder_dirs, max_skipped=0.5)
    for table in ("text", "audio.scp", "video.scp", "utt2num_frames", "utt2num_video_frames"):
        assert "cid-00002" not in datadir.read_table(feats_dir / table)
    assert "0.52 s, its video 0.40 s" in datadir.read_skipped(feats_dir)["cid-00002"]


def test_audio_stored_averaged_gives_the_same_tokens_and_takes_less(
    clips_dir, encoder_dirs, refused
):
    """Exact but for the two-byte storage: the last, partial group counts by its frames."""
    options = {"store_rate": 4, "num_noisy_copies": 1}
    folders = extract(clips_dir, encoder_dirs), extract(clips_dir, encoder_dirs, "s4", **options)
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
    with refused(
        "a rate that stored averages do not give", r"averaged over 4 frames .* gives no rate 6"
    ):
        stored.check_rates([4, 6])


def test_means_of_means_are_exact():
    x = np.random.default_rng(0).normal(size=(23, 3))
    counts = {}
    ((_, means),) = averaged(iter([("u", x)]), 4, counts)
    assert counts == {"u": 23} and len(means) == 6
    repeated = np.repeat(means, 4, axis=0)[:23]
    for start, stop in ((0, 16), (16, 23), (0, 8), (20, 23)):
        np.testing.assert_allclose(repeated[start:stop].mean(0), x[start:stop].mean(0), rtol=1e-12)


def test_it_says_how_much_disk_it_takes_and_stops_when_there_is_less(
    clips_dir, encoder_dirs, monkeypatch, caplog, refused
):
    caplog.set_level("INFO")
    seconds = sum(CLIPS.values()) / VIDEO_FPS
    values = seconds * (AUDIO_FPS * 2 * width_of(encoder_dirs["audio"]) + VIDEO_FPS * 16)
    free = shutil._ntuple_diskusage(0, 0, int(2 * values) - 1)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: free)
        with refused("too little disk", r"take .* are free: store audio averaged"):
            extract(clips_dir, encoder_dirs, num_noisy_copies=1)
    assert not (clips_dir / "feats/train/feats.json").exists()
    feats_dir = extract(clips_dir, encoder_dirs, num_noisy_copies=1)
    assert "GB an hour" in caplog.text
    size = sum(path.stat().st_size for path in feats_dir.glob("jobs/*/*.ark"))
    assert 2 * values < size < 2.6 * values  # headers, for these clips are very short


def test_features_that_a_job_replaces_do_not_count_as_done(clips_dir, encoder_dirs):
    """A job with other options removes the set's stamp, as it replaces arks of the set."""
    feats_dir = extract(clips_dir, encoder_dirs)
    first = extraction.Options(
        data_dir=clips_dir / "data/train",
        mouths_dir=clips_dir / "mouths",
        feats_dir=feats_dir,
        audio_encoder=encoder_dirs["audio"],
        video_encoder=encoder_dirs["video"],
    )
    assert extraction.up_to_date(first) and extraction.up_to_date(first, (1, 1))
    other = replace(first, store_rate=2)
    assert not extraction.up_to_date(other)
    extraction.extract(other, (1, 1), "cpu")
    assert not extraction.up_to_date(first) and extraction.up_to_date(other, (1, 1))


def test_the_indices_of_parallel_jobs_are_joined(tmp_path, refused):
    names = ("s2-00001", "s1-00002", "s1-00001")
    items = [(u, np.full((3, 2), k, np.float32)) for k, u in enumerate(names)]
    for job, item in enumerate(items):
        ark.write_ark(tmp_path / f"x.{job}.scp", [item], compress=False)
    scps = [tmp_path / f"x.{job}.scp" for job in range(3)]
    merge_scps(scps, tmp_path / "x.scp")
    entries = ark.read_scp(tmp_path / "x.scp")
    assert list(entries) == ["s1-00001", "s1-00002", "s2-00001"]
    assert all(np.array_equal(ark.load(entries[u]), x) for u, x in items)
    with refused("two jobs, one clip", "s2-00001, which another job"):
        merge_scps([scps[0], scps[0]], tmp_path / "y.scp")

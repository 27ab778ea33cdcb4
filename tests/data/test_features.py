"""Frames: archives and online encoders give the same, and augmentation can be repeated."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import CLIPS, baby_model, extract

from mome.config import EncodersConfig
from mome.data import augment
from mome.data.dataset import FeatureDataset, FrameSource, Pick
from mome.data.features import Archives, Online, open_source

NO_MASKS = {"audio_mask_s": 0.0, "video_mask_s": 0.0}
PLAIN = {"random_crop": False, "mirror_share": 0.0, **NO_MASKS}
STREAMS = ("audio", "video")


def encode(text: str) -> list[int]:
    return [len(word) for word in text.split()]


@pytest.fixture
def online(clips_dir, encoder_dirs):
    def make(streams=STREAMS, **settings) -> FeatureDataset:
        config = EncodersConfig(**encoder_dirs, noise="white", **settings)
        mouths_dir = clips_dir / "mouths" if "video" in streams else None
        source = Online(clips_dir / "data/train", mouths_dir, list(streams), config)
        return FeatureDataset(source, encode)

    return make


def picks(step: int, copy: int = 0) -> list[Pick]:
    return [Pick(k, copy, seed=(0, step, k)) for k in range(len(CLIPS))]


@pytest.fixture
def stored(clips_dir, encoder_dirs) -> FeatureDataset:
    return FeatureDataset(Archives(extract(clips_dir, encoder_dirs), list(STREAMS)), encode)


def test_archives_and_online_encoders_are_one_interface(stored, online):
    """Both have all that a source must have, and give frames and batches in the same form."""
    sources = stored.source, online(**PLAIN).source
    assert all(isinstance(source, FrameSource) for source in sources)
    chosen = [("ann-00002", Pick(1)), ("bob-00001", Pick(2))]
    for stream, lengths in (("audio", [28, 22]), ("video", [14, 11])):
        for source in sources:
            frames = source.frames(stream, chosen)
            entries = source.encoded(source.batch_entries(stream, chosen))
            width = source.frame_dims[stream]
            assert [tuple(x.shape) for x in frames] == [(n, width) for n in lengths]
            assert entries.keys() == {stream, f"{stream}_lengths"}
            assert entries[stream].shape == (2, lengths[0], width)
            assert entries[f"{stream}_lengths"].tolist() == lengths
    for name in ("text", "num_frames", "streams", "frame_dims", "store_rate"):
        assert getattr(sources[0], name) == getattr(sources[1], name), name
    assert [source.scps.keys() for source in sources] == [set(STREAMS)] * 2
    assert [source.num_noisy for source in sources] == [0, 1]
    assert [source.encoders.keys() for source in sources] == [set(), set(STREAMS)]


def test_without_augmentation_it_gives_what_stage_2_writes(stored, online):
    data = online(**PLAIN)
    assert data.utterances == stored.utterances and data.ids == stored.ids
    assert data.num_frames == stored.num_frames
    assert data.source.frame_dims == stored.source.frame_dims
    stored.check_encoders(data.source.info)
    for stream in STREAMS:
        a, b = (d.collate(picks(0))[stream] for d in (stored, data))
        assert not b.is_inference()  # can be trained on
        torch.testing.assert_close(b, a, atol=2e-4, rtol=0)  # two bytes a value on disk


def test_what_a_worker_reads_holds_media_and_no_frames(online):
    data = online()
    batch = data.read(picks(0, copy=1))
    assert "audio" not in batch and "video" not in batch
    assert [batch[name][0].ndim for name in ("sounds", "mouths")] == [1, 3]
    frames = data.collate(picks(0, copy=1))
    assert data.source.encoded(batch).keys() == frames.keys()
    assert "sounds" not in frames and "mouths" not in frames


def test_each_time_is_another_one_and_the_same_one_after_a_restart(online):
    first, second = online(), online()
    for stream in STREAMS:
        frames = first.collate(picks(0, copy=1))[stream]
        assert torch.equal(second.collate(picks(0, copy=1))[stream], frames)
        later = first.collate(picks(1, copy=1))[stream]
        assert frames.shape == later.shape and not torch.allclose(frames, later, atol=1e-3)


def test_noise_is_added_to_the_picks_that_ask_for_it_at_an_snr_of_the_list(online):
    source = online(snrs=[5.0], audio_mask_s=0.0).source
    for k, utterance in enumerate(sorted(source.text)):
        clean = source.sound(utterance, Pick(k))
        noisy = source.sound(utterance, Pick(k, copy=1, seed=(0, k)))
        ratio = np.sum(clean**2) / np.sum((noisy - clean) ** 2)
        assert 10 * np.log10(ratio) == pytest.approx(5.0, abs=1e-3)


def test_audio_is_masked_before_noise_covers_it_and_the_masks_are_new_each_time(online):
    source, plain = online(snrs=[5.0]).source, online(**PLAIN).source
    masks = set()
    for step in range(20):
        pick = Pick(1, seed=(0, step, 1))
        speech = plain.sound("ann-00002", pick)
        masked = source.sound("ann-00002", pick)  # 0.56 s: one mask
        zeros = np.flatnonzero(masked != speech)
        assert len(zeros) <= 0.4 * 16_000 and not masked[zeros].any()
        noisy = source.sound("ann-00002", replace(pick, copy=1))
        added = noisy - masked
        assert np.all(noisy[zeros] != 0)
        ratio = np.sum(masked**2) / np.sum(added**2)
        assert 10 * np.log10(ratio) == pytest.approx(5.0, abs=1e-3)
        masks.add((zeros.min(initial=0), len(zeros)))
    assert len(masks) > 10


def test_masks_of_audio_and_video_are_drawn_independently(online):
    source, starts = online(random_crop=False, mirror_share=0.0).source, []
    plain = online(**PLAIN).source
    for step in range(200):
        pick = Pick(1, seed=(0, step, 1))
        sound, mouth = source.sound("ann-00002", pick), source.mouth("ann-00002", pick)
        heard = np.flatnonzero(sound != plain.sound("ann-00002", pick))
        seen = np.flatnonzero((mouth != plain.mouth("ann-00002", pick)).any(axis=(1, 2)))
        if len(heard) and len(seen):
            assert not mouth[seen].any()
            starts.append((heard[0] / 16_000, seen[0] / 25))
    assert len(starts) > 100 and abs(np.corrcoef(np.transpose(starts))[0, 1]) < 0.25


def test_a_clip_that_a_mask_would_silence_is_heard_whole(online, monkeypatch):
    source = online(audio_mask_s=0.4, snrs=[5.0]).source
    monkeypatch.setattr(augment, "mask_time", lambda clip, *_: 0 * clip)
    for copy in (0, 1):
        assert source.sound("ann-00001", Pick(0, copy, seed=(0, 0))).any()


def test_features_padded_in_another_way_are_refused(online):
    data = online(streams=("audio",))
    with pytest.raises(ValueError, match="with pad_to_30s False, but the model was trained on Tru"):
        data.check_encoders(data.source.info | {"pad_to_30s": True})
    older = {k: v for k, v in data.source.info.items() if k != "pad_to_30s"}
    data.check_encoders(older)  # it was False


def test_only_the_encoders_of_the_streams_of_a_task_are_compared(stored, clips_dir, online):
    video = FeatureDataset(Archives(clips_dir / "feats/train", ["video"]), encode)
    video.check_encoders(online(streams=("video",)).source.info)
    with pytest.raises(ValueError, match="audio_sha256"):
        stored.check_encoders(video.source.info | {"audio_sha256": "another"})


def test_encoders_are_compared_by_their_weights_and_by_their_names_without_these(stored):
    info = stored.source.info
    stored.check_encoders(info | {"audio_encoder": "moved/whisper"})
    older = {key: value for key, value in info.items() if key != "audio_sha256"}
    with pytest.raises(ValueError, match="audio_encoder"):
        stored.check_encoders(older | {"audio_encoder": "another"})


def test_a_task_of_one_stream_needs_that_one_alone(online):
    batch = online(streams=("audio",)).collate(picks(0))
    assert "video" not in batch and batch["audio"].shape[0] == len(CLIPS)


def test_a_missing_crop_is_an_error_that_says_what_to_do(clips_dir, online):
    lines = (clips_dir / "mouths/mouths.scp").read_text().splitlines(keepends=True)
    (clips_dir / "mouths/mouths.scp").write_text("".join(lines[1:]))
    with pytest.raises(ValueError, match="lacks 1 of 5 utterances, such as ann-00001: run stage 1"):
        online()


def test_a_video_encoder_with_lora_is_trained_by_the_model_and_the_rest_of_it_is_not(online):
    torch.manual_seed(0)
    plain = online(**PLAIN)
    data = online(**PLAIN, features="online", video_lora_rank=2)
    encoder = data.source.encoders["video"]
    model = baby_model(frame_dims=data.source.frame_dims, audio_rates=[4, 8], video_rates=[2])
    model.add_video_encoder(encoder)
    batch = data.collate(picks(0))
    assert "video" not in batch and [len(mouth) for mouth in batch["mouths"]] == [*CLIPS.values()]
    batch = model.encode_mouths(batch)
    expected = plain.collate(picks(0))
    torch.testing.assert_close(batch["video"], expected["video"], atol=1e-5, rtol=0)  # as it was
    assert torch.equal(batch["video_lengths"], expected["video_lengths"])

    trained = {n: p for n, p in model.trained().items() if n.startswith("video_lora.")}
    assert len(trained) == 2 * 2  # A and B of the queries and of the values, in one layer
    with torch.no_grad():
        for name, p in trained.items():
            if name.endswith("a_PKI"):  # it starts at zero, as that of the paper's authors
                assert not p.any()
                p.normal_()
    batch = data.collate(picks(0))
    batch["text"] = batch["text"].clamp(min=3, max=30)
    loss, _, _ = model.train()(**batch)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.values())
    others = [p for n, p in encoder.named_parameters() if ".adapter." not in n]
    assert others and all(p.grad is None for p in others)
    moved = model.encode_mouths(batch)["video"]
    assert not torch.allclose(moved, expected["video"], atol=1e-3)


def test_a_directory_of_the_wrong_kind_is_refused(clips_dir, encoder_dirs):
    feats_dir, data_dir = extract(clips_dir, encoder_dirs), clips_dir / "data/train"
    offline = EncodersConfig(**encoder_dirs)
    online = EncodersConfig(**encoder_dirs, features="online")
    lora = EncodersConfig(**encoder_dirs, features="online", video_lora_rank=2)
    mouths_dir, streams = clips_dir / "mouths", list(STREAMS)
    for set_dir, config, augmented in (
        (feats_dir, online, True),
        (data_dir, offline, True),
        (data_dir, online, False),
        (feats_dir, lora, False),
    ):
        with pytest.raises(ValueError, match=r"is no (data|feature) directory .* needs here"):
            open_source(set_dir, mouths_dir, streams, config, "cpu", augmented)
    source = open_source(feats_dir, mouths_dir, streams, online, "cpu")
    assert isinstance(source, Archives)
    source = open_source(data_dir, mouths_dir, streams, online, "cpu", augmented=True)
    assert isinstance(source, Online)


def test_missing_and_differing_tables_are_reported(clips_dir, encoder_dirs):
    with pytest.raises(FileNotFoundError, match="run stage 2"):
        Archives(clips_dir / "none", ["audio"])
    feats_dir = extract(clips_dir, encoder_dirs)
    (feats_dir / "text").write_text("ann-00001 one two\n")
    with pytest.raises(
        ValueError,
        match=r"audio\.scp, line 2: ann-00002 is not in text; .* and \d+ more: run stage 2",
    ):
        Archives(feats_dir, ["audio"])

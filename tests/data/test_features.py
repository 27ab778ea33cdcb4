"""Online features: the archives' numbers without augmentation, new ones with it, repeatable."""

import numpy as np
import pytest
import torch
from bin.test_extract_features import NUM_FRAMES, corpus, encoders, extract  # noqa: F401
from conftest import baby_model

from mome.config import EncodersConfig
from mome.data.dataset import Archives, FeatureDataset, Pick
from mome.data.features import Online, open_source

PLAIN = {"random_crop": False, "mirror_share": 0.0, "mask_s": 0.0}
STREAMS = ("audio", "video")


def encode(text: str) -> list[int]:
    return [len(word) for word in text.split()]


@pytest.fixture
def online(corpus, encoders):  # noqa: F811
    def make(streams=STREAMS, **settings) -> FeatureDataset:
        config = EncodersConfig(audio=encoders[1], video=encoders[3], noise="white", **settings)
        mouths = corpus / "mouths" if "video" in streams else None
        return FeatureDataset(Online(corpus / "data/train", mouths, list(streams), config), encode)

    return make


def picks(step: int, copy: int = 0) -> list[Pick]:
    return [Pick(k, copy, seed=(0, step, k)) for k in range(len(NUM_FRAMES))]


def test_without_augmentation_it_gives_what_stage_2_writes(corpus, encoders, online):  # noqa: F811
    stored = FeatureDataset(Archives(extract(corpus, encoders), list(STREAMS)), encode)
    data = online(**PLAIN)
    assert data.utterances == stored.utterances and data.ids == stored.ids
    assert data.num_frames == stored.num_frames
    assert data.source.frame_dims == stored.source.frame_dims
    stored.check_encoders(data.source.info)
    for stream in STREAMS:
        a, b = (d.collate(picks(0))[stream] for d in (stored, data))
        assert not b.is_inference()  # can be trained on
        torch.testing.assert_close(b, a, atol=2e-4, rtol=0)  # two bytes a value on disk


def test_each_time_is_another_one_and_the_same_one_after_a_restart(online):
    first, second = online(), online()
    for stream in STREAMS:
        now = first.collate(picks(0, copy=1))[stream]
        assert torch.equal(second.collate(picks(0, copy=1))[stream], now)
        later = first.collate(picks(1, copy=1))[stream]
        assert now.shape == later.shape and not torch.allclose(now, later, atol=1e-3)


def test_noise_is_added_to_the_picks_that_ask_for_it_at_an_snr_of_the_list(online):
    source = online(snrs=[5.0]).source
    for k, utterance in enumerate(sorted(source.text)):
        clean = source.sound(utterance, Pick(k))
        noisy = source.sound(utterance, Pick(k, copy=1, seed=(0, k)))
        ratio = np.sum(clean**2) / np.sum((noisy - clean) ** 2)
        assert 10 * np.log10(ratio) == pytest.approx(5.0, abs=1e-3)


def test_a_task_of_one_stream_needs_that_one_alone(online):
    batch = online(streams=("audio",)).collate(picks(0))
    assert "video" not in batch and batch["audio"].shape[0] == len(NUM_FRAMES)


def test_a_missing_crop_is_an_error_that_says_what_to_do(corpus, online):  # noqa: F811
    lines = (corpus / "mouths/mouths.scp").read_text().splitlines(keepends=True)
    (corpus / "mouths/mouths.scp").write_text("".join(lines[1:]))
    with pytest.raises(ValueError, match="lacks 1 of 5 utterances, such as ann-00001: run stage 1"):
        online()


def test_a_video_encoder_with_lora_is_trained_by_the_model_and_the_rest_of_it_is_not(online):
    torch.manual_seed(0)
    plain = online(**PLAIN)
    data = online(**PLAIN, features="online", video_lora_rank=2)
    encoder = data.source.encoders["video"]
    model = baby_model(frame_dims=data.source.frame_dims, audio_rates=[4, 8], video_rates=[2])
    model.add_video_encoder(encoder)
    batch = model.encode_mouths(data.collate(picks(0)))
    expected = plain.collate(picks(0))
    torch.testing.assert_close(batch["video"], expected["video"], atol=1e-5, rtol=0)  # as it was
    assert torch.equal(batch["video_lengths"], expected["video_lengths"])

    trained = {n: p for n, p in model.trained().items() if n.startswith("video_lora.")}
    assert len(trained) == 2 * 2  # A and B beside the queries and the values of its one layer
    with torch.no_grad():
        for name, p in trained.items():
            if name.endswith("b_POK"):
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


def test_a_directory_of_the_wrong_kind_is_refused(corpus, encoders):  # noqa: F811
    feats, data = extract(corpus, encoders), corpus / "data/train"
    files = {"audio": encoders[1], "video": encoders[3]}
    offline, online = EncodersConfig(**files), EncodersConfig(**files, features="online")
    lora = EncodersConfig(**files, features="online", video_lora_rank=2)
    how = corpus / "mouths", list(STREAMS)
    for folder, config, augmented in (
        (feats, online, True),
        (data, offline, True),
        (data, online, False),
        (feats, lora, False),
    ):
        with pytest.raises(ValueError, match=r"is no (data|feature) directory .* needs here"):
            open_source(folder, *how, config, "cpu", augmented)
    assert isinstance(open_source(feats, *how, online, "cpu"), Archives)
    assert isinstance(open_source(data, *how, online, "cpu", augmented=True), Online)

"""The frozen encoders: lengths, independence of neighbours, agreement with transformers' call."""

import copy
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from mome import encoders
from mome.avhubert import AVHuBERT, AVHuBERTConfig
from mome.encoders import load_audio_encoder, load_video_encoder

SMALL_VIDEO = AVHuBERTConfig(
    dim=16, ffn_dim=32, num_layers=1, num_heads=2, position_kernel=4, position_groups=2,
    frontend_dim=4, frontend_stride=4, resnet_dims=(4, 8), resnet_blocks=(1, 1), audio_dim=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def whisper_dir(tmp_path_factory):
    """A baby Whisper as an ordinary model folder."""
    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=64,
        decoder_start_token_id=1, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def audio_encoder(whisper_dir):
    return load_audio_encoder(whisper_dir)


@pytest.fixture(scope="module")
def video_dir(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("avhubert")
    AVHuBERT(SMALL_VIDEO).save(folder)
    return folder


def speech(num_samples, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(num_samples)).astype(np.float32)


@pytest.mark.parametrize("num_samples", [1, 319, 320, 321, 16000, 40001])
def test_there_is_a_frame_for_every_20_ms_begun(audio_encoder, num_samples):
    (frames,) = audio_encoder([speech(num_samples)])
    assert frames.shape == (-(-num_samples // 320), audio_encoder.dim)
    assert frames.dtype == torch.float32 and frames.isfinite().all()


@pytest.mark.parametrize("padded", [False, True])
def test_clips_that_run_together_do_not_know_of_each_other(whisper_dir, padded, monkeypatch):
    monkeypatch.setattr("mome.encoders.fast_dtype", lambda device: torch.float32)
    monkeypatch.setitem(encoders.BATCH_S, "cpu", 180)
    encoder = load_audio_encoder(whisper_dir, pad_to_30s=padded)
    clips = [speech(n, seed=n) for n in (8000, 16123, 5000, 321, 31 * 16000)]
    sizes, run = [], encoder.run
    monkeypatch.setattr(encoder, "run", lambda mels: (sizes.append(len(mels)), run(mels))[1])
    together = encoder(clips)
    assert sizes == [6]  # the last clip is two windows
    for clip, frames in zip(clips, together, strict=True):
        torch.testing.assert_close(encoder([clip])[0], frames, atol=1e-5, rtol=1e-4)


def test_no_more_run_together_than_fit(video_dir, monkeypatch):
    encoder = load_video_encoder(video_dir)
    monkeypatch.setitem(encoders.BATCH_S, "cpu", 8 / 25)
    shapes, network = [], encoder.avhubert
    network.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape[:3])))
    encoder([np.zeros((n, 96, 96), np.uint8) for n in (4, 9, 1, 3, 2)])
    assert shapes == [(1, 1, 9), (2, 1, 4), (2, 1, 2)]


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_frames_in_batches_are_those_of_each_clip_alone(
    kind, audio_encoder, video_dir, monkeypatch
):
    """In float32, to 1e-4 of the norm of each clip; some clips are of equal length."""
    monkeypatch.setattr("mome.encoders.fast_dtype", lambda device: torch.float32)
    rng = np.random.default_rng(0)
    if kind == "audio":
        encoder = copy.deepcopy(audio_encoder)
        encoder.whisper.float()
        clips = [speech(n, seed=k) for k, n in enumerate([9600, 9600, 16000, 640, 41000, 9599])]
    else:
        encoder = load_video_encoder(video_dir)
        clips = [rng.integers(0, 255, (n, 96, 96), dtype=np.uint8) for n in (15, 15, 25, 1, 64)]
    together = encoder(clips)
    for clip, frames in zip(clips, together, strict=True):
        (alone,) = encoder([clip])
        assert (frames - alone).norm() < 1e-4 * alone.norm()


def test_bars_of_transformers_do_not_reach_log_files(whisper_dir):
    code = (
        "import mome.bin; from mome.encoders import load_audio_encoder;"  # what a command imports
    )
    code += f"load_audio_encoder({str(whisper_dir)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Loading" not in done.stderr and "\r" not in done.stderr


def test_frames_do_not_depend_on_gain_nor_offset(audio_encoder):
    clip = speech(16000)
    a, b = audio_encoder([clip, 0.02 * clip + 0.3])
    assert (a - b).abs().max() < 0.05 * a.std()


def test_padded_to_30_s_it_is_transformers_own_result(whisper_dir, monkeypatch):
    monkeypatch.setattr("mome.encoders.fast_dtype", lambda device: torch.float32)
    ours = load_audio_encoder(whisper_dir, pad_to_30s=True)
    clip = speech(32000)
    normal = (clip - clip.mean()) / clip.std()
    mel = WhisperFeatureExtractor()(normal, sampling_rate=16000, return_tensors="pt")
    theirs = WhisperForConditionalGeneration.from_pretrained(whisper_dir).eval().model.encoder
    with torch.no_grad():
        expected = theirs(mel.input_features).last_hidden_state[0, :100]
    torch.testing.assert_close(ours([clip])[0], expected, atol=1e-4, rtol=1e-3)


def test_a_clip_longer_than_30_s_is_encoded_window_by_window(audio_encoder):
    (frames,) = audio_encoder([speech(31 * 16000)])
    assert frames.shape == (31 * 50, audio_encoder.dim)


def test_encoders_stay_frozen_and_in_eval_mode(audio_encoder, video_dir):
    for encoder in (audio_encoder, load_video_encoder(video_dir)):
        encoder.train()
        assert not any(module.training for module in encoder.modules())
        assert not any(p.requires_grad for p in encoder.parameters())


def test_a_video_frame_for_every_picture_alone_or_among_others(video_dir):
    encoder = load_video_encoder(video_dir)
    rng = np.random.default_rng(0)
    mouths = [rng.integers(0, 255, (n, 96, 96), dtype=np.uint8) for n in (1, 7, 4)]
    together = encoder(mouths)
    assert [tuple(x.shape) for x in together] == [(1, 16), (7, 16), (4, 16)]
    for mouth, frames in zip(mouths, together, strict=True):
        torch.testing.assert_close(encoder([mouth])[0], frames, atol=1e-5, rtol=1e-4)


def test_the_same_weights_have_the_same_fingerprint_and_others_do_not(whisper_dir, video_dir):
    a, b = load_audio_encoder(whisper_dir), load_audio_encoder(whisper_dir)
    assert a.sha256 == b.sha256 and len(a.sha256) == 64
    assert a.sha256 != load_video_encoder(video_dir).sha256


@pytest.mark.parametrize("clip", [np.zeros(0, np.float32), np.zeros((2, 100), np.float32)])
def test_what_is_no_waveform_is_refused(audio_encoder, clip):
    with pytest.raises(ValueError, match="waveform"):
        audio_encoder([clip])


def test_a_missing_encoder_says_what_to_do(tmp_path, refused):
    with refused("no audio encoder", "fetch_models"):
        load_audio_encoder(tmp_path / "nothing")
    with refused("no video encoder", "pretrain_video", FileNotFoundError):
        load_video_encoder(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"x" * 1000])
def test_a_damaged_audio_encoder_is_one_line(whisper_dir, tmp_path, name, content, refused):
    shutil.copytree(whisper_dir, tmp_path / "whisper")
    (tmp_path / "whisper" / name).write_bytes(content)
    with refused(f"Whisper, {name} holds {content[:2]!r}", "whisper cannot be loaded"):
        load_audio_encoder(tmp_path / "whisper")


@pytest.mark.parametrize(
    "slower, chosen", [(torch.bfloat16, "float32"), (torch.float32, "bfloat16")]
)
def test_the_faster_precision_of_the_cpu_is_chosen(monkeypatch, slower, chosen):
    times = {torch.float32: 0.01, torch.bfloat16: 0.01, slower: 0.02}
    monkeypatch.setattr(encoders, "layer_seconds", lambda dtypes: {d: times[d] for d in dtypes})
    dtype, reason = encoders.choose_dtype.__wrapped__("cpu")
    assert str(dtype) == f"torch.{chosen}" and f"20.0 ms in {str(slower)[6:]}" in reason


def test_a_layer_is_timed_anywhere_and_leaves_threads_and_chance_alone():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with torch.inference_mode():
        seconds = encoders.layer_seconds([torch.float32, torch.bfloat16])
    assert all(0 < s < 60 for s in seconds.values())
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_a_cpu_without_bfloat16_gets_float32():
    """Such a CPU is shown by restricting PyTorch and oneDNN to AVX2 on any machine."""
    code = "from mome.encoders import choose_dtype; print(*choose_dtype('cpu'))"
    restricted = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | restricted, capture_output=True, text=True
    )
    assert done.stdout.startswith("torch.float32 a layer takes"), done.stderr

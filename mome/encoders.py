"""The frozen encoders (MoME §3.1): Whisper for speech, AV-HuBERT for lips, with the same call.

Each takes a list of clips and returns a list of (T_i, D) float32 tensors. Clips of similar length
run together, padded. The frames of a clip do not depend on the other clips, apart from rounding: in
float32 the difference is below 1e-4 of their norm, in bfloat16 about 1 %.
Encoders are always frozen and in eval mode. Speech gives 50 frames a second, T = ceil(samples /
320); video gives 25, one for each image.

Shape key
    S  samples at 16 kHz    M  mel bands    F  mel frames, 100 a second    T  frames    D  width
    B  clips that run together
"""

import functools
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from mome.avhubert import Attention, AVHuBERT
from mome.data import AUDIO_FPS, SAMPLE_RATE, VIDEO_FPS
from mome.inject import attach
from mome.lora import LoRA

FRAME = SAMPLE_RATE // AUDIO_FPS  # samples in a frame of Whisper
WINDOW = 30 * SAMPLE_RATE  # samples that Whisper hears at once
CROP = 88  # pixels
VIDEO_MEAN, VIDEO_STD = 0.421, 0.165  # of grey in 0..1
# Most seconds of media in a batch, padding included: what fills a GPU, what a CPU's caches hold.
BATCH_S: dict[str, float] = {"cuda": 120, "cpu": 15}


def load_audio_encoder(
    name_or_path: str, device: str | torch.device = "cpu", pad_to_30s: bool = False
) -> "AudioEncoder":
    """Whisper's encoder from a folder or the hub.

    With `pad_to_30s`, each clip is followed by silence up to 30 s, as Whisper was trained and as
    the paper's authors do; frames after the end of the clip are cut off. Without it, a clip is
    encoded at its own length, which is many times faster. Raises ValueError when the model cannot
    be loaded.
    """
    try:
        config = WhisperConfig.from_pretrained(name_or_path)
        if config.model_type != "whisper":
            raise ValueError(f"it is a model of type {config.model_type!r}")
        mel = WhisperFeatureExtractor.from_pretrained(name_or_path)
        whisper = WhisperModel.from_pretrained(name_or_path, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"audio encoder {name_or_path} cannot be loaded ({reason}): give a folder or a hub id "
            "of Whisper; tools/fetch_models.py brings the one of the mini recipe"
        ) from error
    encoder = AudioEncoder(whisper.encoder, mel, str(name_or_path), pad_to_30s)
    encoder.whisper.to(fast_dtype(device))
    return encoder.to(device)


def load_video_encoder(path: str | Path, device: str | torch.device = "cpu") -> "VideoEncoder":
    """AV-HuBERT from a folder with config.json and model.safetensors. Raises as `from_folder`."""
    return VideoEncoder(AVHuBERT.from_folder(path), str(path)).to(device)


def fast_dtype(device: str | torch.device) -> torch.dtype:
    """bfloat16 where it is faster (it changes frames by 1 or 2 %), else float32."""
    return choose_dtype(torch.device(device).type)[0]


@functools.cache
def choose_dtype(kind: str) -> tuple[torch.dtype, str]:
    """The faster precision on a kind of device, "cpu" or "cuda", and the reason in words.

    A GPU that has bfloat16 is faster with it. On a CPU, the forward and backward pass of a layer is
    timed, since PyTorch emulates bfloat16, many times slower, where the hardware lacks it.
    """
    if kind == "cuda":
        has = torch.cuda.is_bf16_supported()
        return (
            torch.bfloat16 if has else torch.float32
        ), f"the GPU has {'' if has else 'no '}bfloat16"
    seconds = layer_seconds([torch.float32, torch.bfloat16])
    full, half = seconds[torch.float32], seconds[torch.bfloat16]
    times = f"a layer takes {1e3 * full:.1f} ms in float32, {1e3 * half:.1f} ms in bfloat16"
    return (torch.bfloat16 if half < full else torch.float32), times


def layer_seconds(dtypes: list[torch.dtype]) -> dict[torch.dtype, float]:
    """Seconds of a forward and backward pass of a feed-forward layer on the CPU.

    The layer has the widths of SmolLM2-135M and reads 128 tokens. One thread runs it, the
    precisions take turns, and the shortest times count: other work on the machine hardly matters.
    """
    shortest, num_threads = dict.fromkeys(dtypes, math.inf), torch.get_num_threads()
    torch.set_num_threads(1)  # threads of a busy machine wait for each other
    with torch.inference_mode(False), torch.enable_grad():
        for turn in range(8):
            for dtype in dtypes:
                x = torch.full((128, 576), 0.01, dtype=dtype, requires_grad=True)
                up, down = (torch.full(n, 0.01, dtype=dtype) for n in ((1536, 576), (576, 1536)))
                start = time.perf_counter()
                F.linear(F.silu(F.linear(x, up)), down).sum().backward()
                shortest[dtype] = min(shortest[dtype], time.perf_counter() - start)
            if turn and max(shortest.values()) > 3 * min(shortest.values()):
                break  # the result is clear
    torch.set_num_threads(num_threads)
    return shortest


def fingerprint(encoder: nn.Module) -> str:
    """sha256 of the names and values of the weights, the same on every device."""
    digest = hashlib.sha256()
    for name, x in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(x.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def about(encoder: "AudioEncoder | VideoEncoder") -> dict:
    """The entries of feats.json that describe an encoder."""
    return {"encoder": encoder.name, "dim": encoder.dim, "sha256": encoder.sha256}


class AudioEncoder(nn.Module):
    """Waveforms -> frames. Each waveform is first normalised to zero mean and unit variance.

    Attributes: `dim` is D, `name` the folder or hub id, `sha256` the fingerprint of the weights.
    """

    whisper: Any  # the encoder of transformers, whose parts have no types
    filters_MN: Tensor
    window: Tensor

    def __init__(self, whisper: Any, mel: WhisperFeatureExtractor, name: str, pad: bool):
        super().__init__()
        self.name, self.dim, self.pad_to_30s = name, whisper.config.d_model, pad
        self.sha256 = fingerprint(whisper)
        self.num_fft, self.hop = mel.n_fft, mel.hop_length
        self.register_buffer("filters_MN", torch.tensor(mel.mel_filters.T, dtype=torch.float32))
        self.register_buffer("window", torch.hann_window(mel.n_fft))
        self.whisper = whisper.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> "AudioEncoder":
        """Stay in eval mode, whatever the mode of the model that holds this encoder."""
        return self

    @torch.inference_mode()
    def forward(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """(S_i,) float at 16 kHz, any length -> (ceil(S_i / 320), D). ValueError for none."""
        clips = self.spectra(waveforms)
        limit = int(batch_seconds(self.window.device) * SAMPLE_RATE / self.hop)
        found = iter(by_length(self.run, [w for windows in clips for w in windows], limit))
        return [
            torch.cat([next(found) for _ in windows])[: -(-len(wave) // FRAME)]
            for wave, windows in zip(waveforms, clips, strict=True)
        ]

    def spectra(self, waveforms: Sequence[np.ndarray]) -> list[Sequence[Tensor]]:
        """The log mel spectrum of each clip, (F, M), in pieces of at most 30 s, Whisper's limit."""
        found: dict[int, Sequence[Tensor]] = {}
        unit = WINDOW if self.pad_to_30s else FRAME
        waves = [torch.as_tensor(x, dtype=torch.float32) for x in waveforms]
        for wave_S in waves:
            if wave_S.ndim != 1 or not len(wave_S):
                raise ValueError(f"a waveform must be (samples,), got {tuple(wave_S.shape)}")
        for length in {len(wave_S) for wave_S in waves}:  # equal lengths together
            places = [i for i, wave_S in enumerate(waves) if len(wave_S) == length]
            wave_BS = to_device(torch.stack([waves[i] for i in places]), self.window.device)
            std_B1 = wave_BS.std(-1, correction=0, keepdim=True)
            wave_BS = (wave_BS - wave_BS.mean(-1, keepdim=True)) / (std_B1 + 1e-7)
            mel_BMF = self.log_mel(F.pad(wave_BS, (0, -length % unit)))
            pieces = [mel_MF.T.split(WINDOW // self.hop) for mel_MF in mel_BMF]
            found |= zip(places, pieces, strict=True)
        return [found[i] for i in range(len(waves))]

    def log_mel(self, wave_BS: Tensor) -> Tensor:
        """(B, S) -> (B, M, S / 160), as WhisperFeatureExtractor computes it."""
        power = torch.stft(
            wave_BS, self.num_fft, self.hop, window=self.window, return_complex=True
        ).abs()[..., :-1].square()  # fmt: skip
        log_BMF = (self.filters_MN @ power).clamp(min=1e-10).log10()
        return (log_BMF.maximum(log_BMF.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0

    def run(self, mels: Sequence[Tensor]) -> list[Tensor]:
        """Run the network on mel frames of any length up to 30 s: (F_i, M) -> (F_i / 2, D)."""
        whisper = self.whisper
        dtype, device = whisper.conv1.weight.dtype, mels[0].device
        lengths = [len(mel_FM) for mel_FM in mels]
        steps_F = torch.arange(max(lengths), device=device)
        padding_mask_B1F = (steps_F < torch.tensor(lengths, device=device)[:, None])[:, None]
        mel_BMF = pad_sequence(list(mels), batch_first=True).transpose(1, 2).to(dtype)
        x_BDF = F.gelu(whisper.conv1(mel_BMF)) * padding_mask_B1F  # as a convolution pads
        x_BTD = F.gelu(whisper.conv2(x_BDF)).transpose(1, 2)
        x_BTD = x_BTD + whisper.embed_positions.weight[: x_BTD.shape[1]]
        attention_mask_B11T = None  # added to the logits of the attention
        if min(lengths) < max(lengths):
            padding_B11T = ~padding_mask_B1F[:, None, :, ::2]
            attention_mask_B11T = torch.zeros_like(padding_B11T, dtype=dtype)
            attention_mask_B11T.masked_fill_(padding_B11T, torch.finfo(dtype).min)
        for layer in whisper.layers:
            x_BTD = layer(x_BTD, attention_mask_B11T)
            x_BTD = x_BTD[0] if isinstance(x_BTD, tuple) else x_BTD  # transformers before 5
        x_BTD = whisper.layer_norm(x_BTD).float()
        return [x_TD[: n // 2] for x_TD, n in zip(x_BTD, lengths, strict=True)]


class VideoEncoder(nn.Module):
    """Mouth crops -> frames. Attributes `dim`, `name`, `sha256` as those of AudioEncoder."""

    def __init__(self, avhubert: AVHuBERT, name: str):
        super().__init__()
        self.name, self.dim = name, avhubert.config.dim
        self.sha256 = fingerprint(avhubert)
        self.avhubert = avhubert.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> "VideoEncoder":
        """Stay in eval mode, whatever the mode of the model that holds this encoder."""
        return self

    @torch.inference_mode()
    def forward(self, mouths: Sequence[np.ndarray]) -> list[Tensor]:
        """Grey uint8 (T_i, 96, 96) -> (T_i, D). ValueError for a clip without frames."""
        return self.encode(mouths)

    def add_lora(self, rank: int, alpha: float) -> None:
        """LoRA on the queries and values of every layer; the encoder itself stays frozen.

        It starts as in the code of the paper's authors.
        """
        device = next(self.avhubert.parameters()).device
        attentions = [m for m in self.avhubert.modules() if isinstance(m, Attention)]
        for attention in attentions:
            for proj in (attention.q_proj, attention.v_proj):
                adapter = LoRA(proj.in_features, proj.out_features, rank, alpha, start="peers")
                attach(proj, adapter.to(device))

    def encode(self, mouths: Sequence[np.ndarray]) -> list[Tensor]:
        """As `forward`, with gradients."""
        for mouth in mouths:
            if mouth.ndim != 3 or not len(mouth) or min(mouth.shape[1:]) < CROP:
                raise ValueError(f"a mouth must be (frames, 96, 96), got {mouth.shape}")
        limit = int(batch_seconds(next(self.avhubert.parameters()).device) * VIDEO_FPS)
        return by_length(self.run, mouths, limit)

    def run(self, mouths: Sequence[np.ndarray]) -> list[Tensor]:
        """Run the network on crops of any length: (T_i, H, W) -> (T_i, D)."""
        weight, lengths = next(self.avhubert.parameters()), [len(mouth) for mouth in mouths]
        crops = [torch.from_numpy(np.ascontiguousarray(centre_crop(mouth))) for mouth in mouths]
        images_BTHW = to_device(pad_sequence(crops, batch_first=True), weight.device)
        video_BTHW = normalise(images_BTHW).to(weight.dtype)
        dtype = fast_dtype(weight.device)
        with torch.autocast(weight.device.type, dtype, enabled=dtype != torch.float32):
            x_BTD = self.avhubert(video_BTHW[:, None], lengths).float()
        return [x_TD[:n] for x_TD, n in zip(x_BTD, lengths, strict=True)]


def by_length(run: Callable[[list], list[Tensor]], clips: Sequence, limit: int) -> list[Tensor]:
    """The result of `run` for each clip; it is called on batches of clips of similar length.

    `limit` is the most frames in a batch, padding included; a longer clip runs alone.
    """
    found: dict[int, Tensor] = {}
    order = sorted(range(len(clips)), key=lambda i: -len(clips[i]))
    while order:
        size = max(1, limit // len(clips[order[0]]))
        group, order = order[:size], order[size:]
        found |= zip(group, run([clips[i] for i in group]), strict=True)
    return [found[i] for i in range(len(clips))]


def batch_seconds(device: str | torch.device) -> float:
    """Most seconds of media that an encoder runs at once, padding included."""
    return BATCH_S["cpu" if torch.device(device).type == "cpu" else "cuda"]


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; the CPU does not wait until it is there."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


def centre_crop(mouth: np.ndarray, size: int = CROP) -> np.ndarray:
    """(T, H, W) -> (T, size, size)."""
    top, left = ((n - size) // 2 for n in mouth.shape[1:])
    return mouth[:, top : top + size, left : left + size]


def normalise(mouth: np.ndarray | Tensor) -> Tensor:
    """Grey uint8 of any shape -> float32, normalised as in the training of AV-HuBERT."""
    x = mouth if isinstance(mouth, Tensor) else torch.from_numpy(np.ascontiguousarray(mouth))
    return x.float().div_(255).sub_(VIDEO_MEAN).div_(VIDEO_STD)

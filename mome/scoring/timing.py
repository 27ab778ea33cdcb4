"""How long a model takes for a clip, and how much memory: encoders, prompt and text, in turns.

A round measures everything once. The rounds follow each other, so whatever else the machine does
falls on all figures; the results are medians over the rounds. Random weights and random clips cost
as much as trained weights and speech. The text gets a fixed number of tokens, whatever its words.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mome.avhubert import AVHuBERT, AVHuBERTConfig
from mome.compression import Scale
from mome.config import EncodersConfig
from mome.data import AUDIO_FPS, SAMPLE_RATE, VIDEO_FPS
from mome.data.progress import Progress
from mome.encoders import AudioEncoder, VideoEncoder, fast_dtype

WHISPER_LAYERS = {384: 4, 512: 6, 768: 12, 1024: 24, 1280: 32}  # by width: tiny ... large
AVHUBERTS = {
    768: AVHuBERTConfig(dim=768, ffn_dim=3072, num_layers=12, num_heads=12),
    1024: AVHuBERTConfig(),
}
Call = Callable[[], dict[str, float]]


# ---- encoders with random weights ----------------------------------------------------------------


def random_encoders(
    encoders: EncodersConfig, frame_dims: dict[str, int], streams: list[str], device: str
) -> dict[str, Any]:
    """Encoders of the true shapes, by stream.

    A shape comes from the encoder's folder or, for the public ones, from its width. Raises
    ValueError for another one.
    """
    found: dict[str, Any] = {}
    if "audio" in streams:
        shape = whisper_shape(encoders.audio, frame_dims["audio"])
        mel = WhisperFeatureExtractor(feature_size=shape.num_mel_bins)
        with torch.device(device):
            whisper = WhisperEncoder(shape).eval()
        audio = AudioEncoder(whisper, mel, "random", encoders.pad_to_30s)
        audio.whisper.to(fast_dtype(device))
        found["audio"] = audio.to(device)
    if "video" in streams:
        with torch.device(device):
            video = AVHuBERT(avhubert_shape(encoders.video, frame_dims["video"])).eval()
        found["video"] = VideoEncoder(video, "random").to(device)
    return found


def whisper_shape(name: str, width: int) -> WhisperConfig:
    """The shape of a Whisper encoder; ValueError for one that is neither a folder nor public."""
    if Path(name, "config.json").is_file():
        return WhisperConfig.from_pretrained(name)
    if width not in WHISPER_LAYERS:
        raise unknown_shape(name)
    return WhisperConfig(
        d_model=width,
        encoder_layers=WHISPER_LAYERS[width],
        encoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        num_mel_bins=128 if width == 1280 else 80,  # large-v3
    )


def avhubert_shape(name: str, width: int) -> AVHuBERTConfig:
    """The shape of an AV-HuBERT; ValueError for one that is neither a folder nor public."""
    path = Path(name, "config.json")
    if path.is_file():
        return AVHuBERTConfig.from_file(path)
    if width not in AVHUBERTS:
        raise unknown_shape(name)
    return AVHUBERTS[width]


def unknown_shape(name: str) -> ValueError:
    """The error for an encoder that cannot be built without its folder."""
    return ValueError(
        f"the shape of encoder {name} is not known: make or fetch it (stage 0 of the recipe), or"
        " count without timing (--no_timing)"
    )


# ---- clips ---------------------------------------------------------------------------------------


def random_media(clip_s: float) -> dict[str, np.ndarray]:
    """What the encoders read of a clip: noise as sound and as mouth crops."""
    rng = np.random.default_rng(0)
    images = (round(clip_s * VIDEO_FPS), 96, 96)
    return {
        "audio": rng.standard_normal(round(clip_s * SAMPLE_RATE)).astype(np.float32),
        "video": rng.integers(0, 255, images, dtype=np.uint8),
    }


def random_frames(clip_s: float, frame_dims: dict[str, int], device: str) -> dict[str, Any]:
    """A batch of one clip with the streams of `frame_dims`, as MoMEModel.prompts takes it."""
    batch: dict[str, Any] = {}
    for stream, dim in frame_dims.items():
        length = round(clip_s * {"audio": AUDIO_FPS, "video": VIDEO_FPS}[stream])
        batch[stream] = torch.randn(1, length, dim, device=device)
        batch[f"{stream}_lengths"] = torch.tensor([length])
    return batch


# ---- one measurement -----------------------------------------------------------------------------


def time_encoder(encoder: Any, media: np.ndarray, device: str) -> dict[str, float]:
    """Seconds that an encoder takes for a clip."""
    start = now(device)
    encoder([media])
    return {"encode_s": now(device) - start}


def time_decoding(
    decode: Callable[[], Any], llm: Any, num_tokens: int, device: str, layer_factor: float = 1.0
) -> dict[str, float]:
    """Seconds of a call of mome.decoding.decode, in parts, and its peak memory.

    `decode` writes `num_tokens` tokens and then EOS (`fill`).
    `prefill_s` lasts from the encoder's frames until the first token is chosen, `decode_s` from
    then to the end of the text; `token_s` is its share of one token. `layer_factor` multiplies the
    time inside the LLM's layers, for an LLM that has fewer layers than the one it stands for.
    """
    reset_peak(device)
    with passes(llm, device) as found:
        start = now(device)
        decode()
        end = now(device)
    # The prompt, then a pass for each token of the text.
    assert len(found) == num_tokens + 1, (len(found), num_tokens)
    more = [(layer_factor - 1) * (stop - begin) for begin, stop in found]
    first = found[1][0]
    prefill_s = first - start + more[0]
    decode_s = end - first + sum(more[1:])
    return {
        "prefill_s": prefill_s,
        "token_s": decode_s / num_tokens,
        "decode_s": decode_s,
        "peak_bytes": peak_bytes(device),
    }


@contextlib.contextmanager
def passes(llm: Any, device: str) -> Iterator[list[list[float]]]:
    """When each pass through the LLM's layers began and ended, [begin, end], in seconds."""
    found: list[list[float]] = []

    def begin(*_: Any) -> None:
        found.append([now(device)])

    def end(*_: Any) -> None:
        found[-1].append(now(device))

    hooks = [llm.model.register_forward_pre_hook(begin), llm.model.register_forward_hook(end)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def now(device: str) -> float:
    """The clock, once a GPU has done its work."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def reset_peak(device: str) -> None:
    """Let the peak of memory begin at what is in use now."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # where it is forbidden, the peak is that of the process
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: str) -> float:
    """The most memory in use since `reset_peak`: tensors on a GPU, this process on a CPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


# ---- all of them ---------------------------------------------------------------------------------


def rounds(
    calls: dict[Any, Call], budget_s: float, num_before: int
) -> dict[Any, list[dict[str, float]]]:
    """What each call returns in each round; a round makes all calls, one after the other.

    There is at least one round, and another one while the budget has time for it. The first
    `num_before` calls are also made before the first round and not counted, since the first use of
    a device or a library is slow.
    """
    found: dict[Any, list[dict[str, float]]] = {key: [] for key in calls}
    start = time.monotonic()
    for call in list(calls.values())[:num_before]:
        call()
    while True:
        begin = time.monotonic()
        number = 1 + len(next(iter(found.values())))
        with Progress(f"round {number}", len(calls), unit="measurement") as progress:
            for key, call in calls.items():
                found[key].append(call())
                progress.update()
        end = time.monotonic()
        if end - start + end - begin > budget_s:
            return found


def measure(
    rows: list[dict[str, Any]],
    calls: dict[tuple[float, str], Call],
    encoders: dict[str, Any],
    device: str,
    budget_s: float,
) -> int:
    """Add medians over the rounds to rows of `scale_cost.Cost`; returns the number of rounds.

    `calls` has a call of `time_decoding` for each clip length and scale. An encoder runs once for
    a length, whatever the scales.
    """
    every: dict[Any, Call] = {}
    for clip_s in dict.fromkeys(clip_s for clip_s, _ in calls):
        media = random_media(clip_s)
        for stream, encoder in encoders.items():
            every[clip_s, stream] = partial(time_encoder, encoder, media[stream], device)
        every |= {key: call for key, call in calls.items() if key[0] == clip_s}
    found = rounds(every, budget_s, num_before=len(encoders) + 1)
    medians = {
        key: {name: statistics.median(r[name] for r in results) for name in results[0]}
        for key, results in found.items()
    }
    for row in rows:
        clip_s, scale = row["clip_s"], Scale.parse(row["scale"])
        used = [stream for stream in encoders if getattr(scale, stream)]
        row |= medians[clip_s, str(scale)]
        row["encode_s"] = sum(medians[clip_s, stream]["encode_s"] for stream in used)
        row["total_s"] = row["encode_s"] + row["prefill_s"] + row["decode_s"]
        row["real_time_factor"] = row["total_s"] / clip_s
    return len(next(iter(found.values())))

"""A recogniser of baby models, in an experiment as stage 3 leaves it, and media files for it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from mome import checkpoint, config
from mome.config import Config, DecodeConfig, EncodersConfig, ModelConfig
from mome.data import SAMPLE_RATE
from mome.data.features import load_encoders
from mome.encoders import about
from mome.inject import adapters
from mome.model import STREAMS, MoMEModel, load_llm
from mome.synthesis import baby_models

TEXT = "s1-00001 the boat found my river and we liked his old market today before\n"
MILLISECOND = Fraction(1, 1000)


def make_experiment(root: Path, task: str = "avsr", **model) -> Path:
    """Baby models in root/downloads, and a model that nobody has trained in root/exp/<task>."""
    (root / "text").write_text(TEXT)
    baby_models.make_all(root / "text", root / "downloads")
    cfg = Config(
        encoders=EncodersConfig(audio="downloads/baby-whisper", video="downloads/baby-avhubert"),
        model=ModelConfig(
            llm="downloads/baby-llm", llm_dtype="float32", attention="eager", task=task,
            projector_dim=8, num_routed=5, num_active=2, expert_dim=3, **model,
        ),
        decode=DecodeConfig(tokens_per_second=1.0, extra_tokens=3, batch_size=4),
    )  # fmt: skip
    exp_dir = root / "exp" / task
    found = checkpoint.resolve(cfg, exp_dir)
    torch.manual_seed(0)
    llm, tokenizer = load_llm(found.model, "cpu")
    encoders = load_encoders(STREAMS[task], found.encoders, "cpu")
    dims = {stream: encoder.dim for stream, encoder in encoders.items()}
    network = MoMEModel(found.model, llm, tokenizer, dims)
    with torch.no_grad():
        for adapter in adapters(llm):  # fresh experts do nothing
            adapter.up.copy_(torch.empty_like(adapter.up).normal_(std=0.3))
    info = {f"{s}_{k}": v for s, e in encoders.items() for k, v in about(e).items()}
    frozen = checkpoint.describe_base(llm, tokenizer, info | {"pad_to_30s": False})
    base = {"llm": cfg.model.llm, "frame_dims": dims, "longest_s": 4.0} | frozen
    checkpoint.save(exp_dir / "best", network.trained(), cfg, base)
    config.save(cfg, exp_dir / "config.yaml")
    return exp_dir


def write_media(
    path: Path,
    images: np.ndarray | None = None,
    samples: np.ndarray | None = None,
    fps: float = 25,
    rate: int = SAMPLE_RATE,
    layout: str = "mono",
    codec: str = "mpeg4",
    sound_codec: str = "aac",
    pixels: str = "yuv420p",
    times: list[float] | None = None,
    options: dict | None = None,
    form: str | None = None,
) -> Path:
    """Write images (T, H, W, 3) and samples (n,) to a media file.

    `times` are those of the images in seconds, instead of 25 a second; `samples` go to every
    channel of `layout`.
    """
    with av.open(str(path), "w", format=form, options=options or {}) as container:
        streams = []
        if images is not None:
            video = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
            video.height, video.width, video.pix_fmt = *images.shape[1:3], pixels
            if times:
                video.codec_context.time_base = MILLISECOND
            streams.append(video)
        if samples is not None:
            sound = container.add_stream(sound_codec, rate=rate, layout=layout)
            streams.append(sound)
        if images is not None:
            for k, image in enumerate(images):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame.time_base = MILLISECOND if times else 1 / video.codec_context.framerate
                frame.pts = round(1000 * times[k]) if times else k
                container.mux(video.encode(frame))
        if samples is not None:
            planes = av.AudioLayout(layout).nb_channels
            sound_frame = av.AudioFrame.from_ndarray(
                np.tile(samples.astype(np.float32), (planes, 1)), format="fltp", layout=layout
            )
            sound_frame.sample_rate, sound_frame.pts = rate, 0
            sound_frame.time_base = Fraction(1, rate)
            resampler = av.AudioResampler(sound.codec_context.format or "fltp", layout, rate)
            fifo = av.AudioFifo()
            for part in resampler.resample(sound_frame):
                fifo.write(part)
            size = sound.codec_context.frame_size or 1024
            while (part := fifo.read(size, partial=True)) is not None:
                container.mux(sound.encode(part))
        for stream in streams:
            container.mux(stream.encode())
    return path

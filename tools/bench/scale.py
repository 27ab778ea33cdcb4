#!/usr/bin/env python
"""What LRS2, LRS3 and 10,000 hours cost: python tools/bench/scale.py --json FILE [--write]

Prints a table for egs/README.md; `--write` puts it there, between its two marker lines. Times of a
GPU come from lines of JSON that tools/bench/train.py and decode.py have written on one. Without
them they are computed from FLOPs and from the assumptions below, and the table says so.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from mome.compression import scales_of
from mome.config import DecodeConfig
from mome.data import AUDIO_FPS, SAMPLE_RATE, VIDEO_FPS
from mome.scoring.cost import shapes_of

README = Path(__file__).resolve().parents[2] / "egs/README.md"
BEGIN, END = "<!-- tools/bench/scale.py --write -->", "<!-- end of the table -->"

# Assumptions, until a GPU has been measured.
PEAK = 989e12  # FLOP/s of an H100 SXM in bfloat16, from its data sheet
SHARE, ENCODER_SHARE = 0.4, 0.1  # of it that training reaches, and the encoders on short clips
DECODE_STEP_S = 0.025  # of a batch of 16 clips with 15 beams, for one token of each
SHARE_OF_EIGHT = 0.9  # of eight times the speed, on eight GPUs

# FLOPs of Whisper-small and AV-HuBERT Large for a second of media, by PyTorch's FlopCounterMode.
AUDIO_FLOPS, VIDEO_FLOPS = 11.5e9, 31.5e9
TEXT_PER_S, TOKENS_PER_S = 4.0, 3.0  # tokens of a second of speech, at most and when decoded
OTHER_TOKENS = 13  # of a prompt: BOS, delimiters, instruction
EPOCHS = 10  # MoME A.3
TEST_SETS = 10  # clean, and babble at nine SNRs
CROP_BYTES_PER_S = 43e6 / 3600  # H.264, the middle of what was measured: egs/README.md


@dataclass(frozen=True)
class Corpus:
    """A corpus and the LLM of its recipe; core-hours of stage 1 are those of egs/README.md."""

    name: str
    hours: float
    clips: int
    test_hours: float
    llm: str
    shape: str  # of tools/bench/train.py
    crop_core_hours: float


CORPORA = [
    Corpus("LRS2", 225, 144_482, 0.5, "meta-llama/Llama-3.2-3B", "3b", 18),
    Corpus("LRS3", 433, 151_819, 0.9, "meta-llama/Llama-3.2-1B", "1b", 37),
    Corpus("10,000 h", 10_000, 3_600_000, 0.9, "meta-llama/Llama-3.2-1B", "1b", 37 / 439 * 10_000),
]


def step_flops(corpus: Corpus) -> float:
    """FLOPs of the LLM in a training step, for a second of media, over the paper's scales.

    Forward pass and backward pass to the input; the frozen weights get no gradients.
    """
    shape, seconds = shapes_of(corpus.llm), corpus.hours * 3600 / corpus.clips
    width, text = shape.hidden_size, TEXT_PER_S
    kv = width // shape.num_attention_heads * shape.num_key_value_heads
    layer = 2 * width * width + 2 * width * kv + 3 * width * shape.intermediate_size
    tokens = sum(
        AUDIO_FPS / (s.audio or 1) + VIDEO_FPS / (s.video or 1) + text + OTHER_TOKENS / seconds
        for s in SCALES
    )
    head = len(SCALES) * text * width * shape.vocab_size
    return 4 * (tokens * layer * shape.num_hidden_layers + head)


SCALES = scales_of("avsr", [4, 16], [2, 5])  # MoME §4


def rows_of(path: Path | None) -> dict[tuple[str, str, str], dict]:
    """The last line of JSON for each bench, shape and system that was run on a GPU."""
    found: dict[tuple[str, str, str], dict] = {}
    for line in path.read_text().splitlines() if path else []:
        row = json.loads(line)
        if row.get("device", "cpu") != "cpu" and {"bench", "shape", "system"} <= row.keys():
            found[row["bench"], row["shape"], row["system"]] = row
    return found


def costs(corpus: Corpus, measured: dict) -> dict[str, float]:
    """Hours of a core or of one GPU for each stage, and bytes on disk."""
    media_s = corpus.hours * 3600
    both = AUDIO_FLOPS + VIDEO_FLOPS
    step = measured.get(("train", corpus.shape, "MoME"))
    online = measured.get(("train", corpus.shape, "MoME, online"))
    train_s = step["step_s"] / step["media_s"] if step else step_flops(corpus) / (SHARE * PEAK)
    once_s = both / (ENCODER_SHARE * PEAK)
    if step and online:
        once_s = (online["step_s"] - step["step_s"]) / step["media_s"]
    noisy_s = once_s * AUDIO_FLOPS / both  # a noisy copy of the audio
    clip = measured.get(("decode", corpus.shape, "mome"))
    tokens = DecodeConfig().extra_tokens / 10 + TOKENS_PER_S
    decode_s = clip["clip_s"] / 10 if clip else tokens * DECODE_STEP_S / DecodeConfig().batch_size
    frames = 2 * (AUDIO_FPS * 768 * 2 + VIDEO_FPS * 1024)  # bytes a second; one noisy copy
    return {
        "crops": corpus.crop_core_hours,
        "encode": (once_s + noisy_s) * media_s / 3600,
        "train": EPOCHS * train_s * media_s / 3600,
        "encode_online": EPOCHS * once_s * media_s / 3600,
        "decode": decode_s * corpus.test_hours * TEST_SETS * len(SCALES),
        "media": (2 * SAMPLE_RATE + CROP_BYTES_PER_S) * media_s,
        "features": frames * media_s,
        "averaged": 2 * (AUDIO_FPS / 4 * 768 * 2 + VIDEO_FPS * 1024) * media_s,
        "files": 2 * corpus.clips,
        "reading": 2 * (AUDIO_FPS * 768 + VIDEO_FPS * 1024) / train_s,
    }


def gpus(hours: float) -> str:
    """Hours on one GPU, which are GPU-hours, and on eight."""
    return f"{number(hours)}; {number(hours / 8 / SHARE_OF_EIGHT)}"


def number(x: float) -> str:
    return f"{x:.2g}" if x < 10 else f"{x:,.0f}"


def table(measured: dict) -> str:
    """The table, and what its figures come from."""
    found = {corpus.name: costs(corpus, measured) for corpus in CORPORA}
    lines = {
        "1 mouth crops: core-hours; hours on 32 cores": lambda c: (
            f"{number(c['crops'])}; {number(c['crops'] / 32)}"
        ),
        "2 features, once: hours on 1 GPU; on 8": lambda c: gpus(c["encode"]),
        "3 training, 10 epochs: hours on 1 GPU; on 8": lambda c: gpus(c["train"]),
        "3 online, the encoders in addition: on 1; on 8": lambda c: gpus(c["encode_online"]),
        "4 decoding, 10 sets, 4 scales, 15 beams: on 1; on 8": lambda c: gpus(c["decode"]),
        "disk: sound and crops, GB": lambda c: number(c["media"] / 1e9),
        "disk: features with one noisy copy, GB": lambda c: number(c["features"] / 1e9),
        "disk: the same with `store_rate=4`, GB": lambda c: number(c["averaged"] / 1e9),
        "files of sound and crops": lambda c: f"{c['files']:,}",
        "read by one GPU that trains offline, MB/s": lambda c: number(c["reading"] / 1e6),
    }
    heads = [f"{corpus.name} ({corpus.llm.rpartition('-')[2]})" for corpus in CORPORA]
    text = f"| stage | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}\n"
    for name, cell in lines.items():
        text += f"| {name} | {' | '.join(cell(found[corpus.name]) for corpus in CORPORA)} |\n"
    devices = sorted({row["device"] for row in measured.values()})
    assumed = [
        f"{what} of {corpus.name}"
        for what in ("train", "decode")
        for corpus in CORPORA
        if (what, corpus.shape, "MoME" if what == "train" else "mome") not in measured
    ]
    if devices:
        text += f"\nMeasured on {', '.join(devices)}.\n"
    if assumed:
        which = f", for {', '.join(assumed)}" if devices else ""
        text += (
            f"\n**Times of GPUs are assumptions{which}**: of {PEAK / 1e12:.0f} TFLOP/s (an H100's"
            f" data sheet,\nbfloat16), training reaches {100 * SHARE:.0f} % and the encoders"
            f" {100 * ENCODER_SHARE:.0f} %; a batch of {DecodeConfig().batch_size} clips takes"
            f" {1e3 * DECODE_STEP_S:.0f} ms for each token.\n"
        )
    return text + f"Eight GPUs are assumed to be {8 * SHARE_OF_EIGHT:.1f} times as fast as one.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path, help="lines that tools/bench/gpu.sh wrote on a GPU")
    parser.add_argument("--write", action="store_true", help="into egs/README.md")
    args = parser.parse_args()
    text = table(rows_of(args.json))
    print(text, end="")
    if args.write:
        before, _, rest = README.read_text().partition(BEGIN)
        README.write_text(f"{before}{BEGIN}\n{text}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()

"""Measure what scales cost: mome bench --config conf/train_x.yaml, or mome bench exp/<tag>

For each clip length and scale: tokens, operations of the LLM, time, peak memory and the real-time
factor (RTF), as in Tables 5 and 8 and Fig. 6 of the paper. With --config, the LLM and the encoders
have the true shapes and random weights; nothing is downloaded. With --no_timing, everything that
is shown follows from the shapes alone. The text of a clip has 4 tokens a second, whatever is said.

    tokens/s   audio and video tokens in a second of speech; `prompt` counts all tokens before the
               text
    TFLOP      of the LLM for prompt and text, counted: egs/README.md says how
    encode s   both encoders
    prefill s  from frames to the first token of the text
    peak GB    of the GPU's tensors; on a CPU, of the whole process
"""

import argparse
import dataclasses
import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from mome import config, files
from mome.bin import Parser, run
from mome.bin._jobs import device_of
from mome.checkpoint import choose_scales, find_model
from mome.compression import Scale
from mome.config import Config, DecodeConfig
from mome.decoding import decode, load_model
from mome.encoders import load_audio_encoder, load_video_encoder
from mome.model import MoMEModel, llm_dtype
from mome.scoring import cost, cost_report, scale_cost, timing

System = tuple[MoMEModel, Any, dict[str, Any]]  # model, tokenizer, encoders by stream
log = logging.getLogger(__name__)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("exp_dir", nargs="?", help="exp/<tag>, trained by stage 3")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    parser.add_argument("--config", type=Path, help="instead of exp/<tag>: random weights")
    parser.add_argument("--model", default="best", help="best, average or checkpoints/step_<n>")
    parser.add_argument("--scales", nargs="+", help="such as a1_v1 a4_v2; default: those trained")
    parser.add_argument(
        "--lengths", nargs="+", type=float, default=[2, 5, 10, 23], help="of clips, in seconds"
    )
    parser.add_argument("--beam", type=int, help="number of beams; default: decode.num_beams")
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU when there is one")
    parser.add_argument(
        "--dtype", choices=["auto", "bfloat16", "float32"], help="of the LLM; default: the config's"
    )
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="repeat the measurements for about this long"
    )
    parser.add_argument(
        "--layers",
        type=int,
        help="build only this many layers of the LLM, and multiply the time in them accordingly",
    )
    parser.add_argument("--no_timing", action="store_true", help="count only; build no weights")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    parser.add_argument("--plot", type=Path, help="figure to write: .png, .pdf or .svg")
    args = parser.parse_args(argv)
    if args.exp_dir and "=" in args.exp_dir:  # an override, after --config
        args.overrides, args.exp_dir = [args.exp_dir, *args.overrides], None
    args.exp_dir = Path(args.exp_dir) if args.exp_dir else None
    if bool(args.exp_dir) == bool(args.config):
        parser.error("give either exp/<tag> or --config FILE")
    if args.layers is not None and (args.exp_dir or args.no_timing):
        parser.error("--layers is for --config with timing: only random weights can be left out")
    if (args.beam is not None and args.beam < 1) or min(args.lengths) <= 0:
        parser.error("--beam must be 1 or more, --lengths above 0")
    args.lengths, args.device = sorted(set(args.lengths)), args.device or device_of(None)
    return args


def main(argv: list[str] | None = None) -> None:
    """Print the table; write the figures."""
    args = parse(argv)
    if args.exp_dir:
        find_model(args.exp_dir, args.model)  # its error names the models there are
    overrides = args.overrides + ([f"model.llm_dtype={args.dtype}"] if args.dtype else [])
    cfg = config.load(args.config or args.exp_dir / "config.yaml", overrides)
    scales, num_beams = choose_scales(cfg, args.scales), args.beam or cfg.decode.num_beams
    timed = args.exp_dir and not args.no_timing
    system = trained(args, cfg) if timed else None
    counted = system[0] if system else without_weights(cfg)
    costs = [
        scale_cost.count(counted, scale, clip_s, num_beams)
        for clip_s in args.lengths
        for scale in scales
    ]
    rows = [dataclasses.asdict(cost) for cost in costs]
    about: dict[str, Any] = {"model": args.config or args.exp_dir, "beams": num_beams}
    about |= {"layers": counted.llm.config.num_hidden_layers, "text_per_s": scale_cost.TEXT_PER_S}
    if not args.no_timing:
        about |= add_times(rows, system or untrained(args, cfg), about, args)
    if args.exp_dir:
        cost_report.add_error_rates(rows, args.exp_dir)
    print(f"{cost_report.title(about)}\n\n{cost_report.table(rows)}")
    if args.json:
        files.write_json(args.json, {"about": about, "rows": rows})
    if args.plot:
        cost_report.figure(rows, args.plot)
        print(f"\n{args.plot}")


def add_times(
    rows: list[dict], system: System, about: dict[str, Any], args: argparse.Namespace
) -> dict[str, Any]:
    """Add times and memory to the rows; returns what they were measured on."""
    model, tokenizer, encoders = system
    built, device = model.llm.config.num_hidden_layers, args.device
    dims = {stream: encoder.dim for stream, encoder in encoders.items()}
    calls: dict[tuple[float, str], timing.Call] = {}
    for row in rows:
        clip_s, scale, num_tokens = row["clip_s"], Scale.parse(row["scale"]), row["text_tokens"]
        batch = timing.random_frames(clip_s, dims, device)
        search = DecodeConfig(
            num_beams=about["beams"], tokens_per_second=0.0, extra_tokens=num_tokens
        )
        call = partial(decode, model, tokenizer, batch, scale, search, fill=True)
        calls[clip_s, row["scale"]] = partial(
            timing.time_decoding, call, model.llm, num_tokens, device, about["layers"] / built
        )
    num_rounds = timing.measure(rows, calls, encoders, device, args.seconds)
    if built < about["layers"]:
        for row in rows:
            row["peak_bytes"] = None  # that of all layers is not known
    return {
        "device": torch.cuda.get_device_name(device) if "cuda" in device else device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "dtype": str(model.llm.dtype).removeprefix("torch."),
        "layers_built": built,
        "rounds": num_rounds,
    }


def trained(args: argparse.Namespace, cfg: Config) -> System:
    """Model, tokenizer and encoders of an experiment."""
    model, tokenizer, _ = load_model(find_model(args.exp_dir, args.model), cfg, args.device)
    encoders: dict[str, Any] = {}
    if "audio" in model.streams:
        name, pad = cfg.encoders.audio, cfg.encoders.pad_to_30s
        encoders["audio"] = load_audio_encoder(name, args.device, pad)
    if "video" in model.streams:
        own = [*model.video_encoder]  # one that was trained with the model
        encoders["video"] = own[0] if own else load_video_encoder(cfg.encoders.video, args.device)
    return model, tokenizer, encoders


def untrained(args: argparse.Namespace, cfg: Config) -> System:
    """Model, tokenizer and encoders of a configuration, with random weights."""
    if cfg.model.quantise != "none":
        log.warning(f"model.quantise={cfg.model.quantise} has no effect on random weights")
    dtype, reason = llm_dtype(cfg.model, args.device)
    log.info(f"the LLM is in {dtype}: {reason}")
    model, tokenizer = build(cfg, args.device, dtype, args.layers)
    encoders = timing.random_encoders(cfg.encoders, dims_of(cfg), model.streams, args.device)
    return model, tokenizer, encoders


def without_weights(cfg: Config) -> MoMEModel:
    """The model of a configuration on the meta device, to be counted."""
    dtype = torch.float32 if cfg.model.llm_dtype == "float32" else torch.bfloat16
    return build(cfg, "meta", dtype)[0]


def dims_of(cfg: Config) -> dict[str, int]:
    """Width of the frames of each stream."""
    return {"audio": cost.width_of(cfg.encoders.audio), "video": cost.width_of(cfg.encoders.video)}


def build(
    cfg: Config, device: str, dtype: torch.dtype, layers: int | None = None
) -> tuple[MoMEModel, Any]:
    """A model with random weights and its tokenizer: that of the LLM's folder, if there is one."""
    name, shape = cfg.model.llm, cost.shapes_of(cfg.model.llm)
    shape = shape if layers is None else scale_cost.with_layers(shape, layers)
    has_own = Path(name, "tokenizer.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(name) if has_own else scale_cost.Words()
    return scale_cost.build(cfg.model, shape, dims_of(cfg), tokenizer, device, dtype), tokenizer


if __name__ == "__main__":
    run(main)

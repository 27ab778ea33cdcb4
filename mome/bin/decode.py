"""Decode: python -m mome.bin.decode exp/<tag> --sets test test_babble_0 --scales a4_v2 a16_v5

Stage 4 of a recipe. Loads the model once and writes exp/<tag>/decode_<scale>/<set>/text for each
scale and test set, as Kaldi text sorted by utterance. Two checks tell whether the video is used:
`--video zeroed` and `--video other` (that of another utterance) decode the same test set with the
video taken away, into the sets <set>_zeroed_video and <set>_other_video.

What is to be decoded is dealt out to --num_jobs processes, a set at a scale after the other; each
takes a GPU in turn. On a cluster, run `--job 1/8` ... `--job 8/8` anywhere.
"""

import argparse
import json
import logging
import time
from pathlib import Path

import torch
from espnet2.fileio.datadir_writer import DatadirWriter
from tqdm import tqdm

from mome import checkpoint, config, files
from mome.bin import Parser, device_of, job_of, run, start_jobs
from mome.compression import Scale, scales_of
from mome.config import Config
from mome.data.dataset import FeatureDataset, to_device
from mome.data.features import load_encoders, open_source
from mome.decoding import decode
from mome.model import MoMEModel, load_llm
from mome.prompt import text_ids

log = logging.getLogger(__name__)

VIDEO = ("own", "zeroed", "other")


def load_model(model_dir: Path, cfg: Config, device: str) -> tuple[MoMEModel, object, dict]:
    """A trained model, its tokenizer and what base.json says; ValueError for another base model."""
    base = checkpoint.read_base(model_dir)
    llm, tokenizer = load_llm(cfg.model, device)
    model = MoMEModel(cfg.model, llm, tokenizer, base["frame_dims"]).to(device)
    if cfg.encoders.video_lora_rank:
        model.add_video_encoder(load_encoders(["video"], cfg.encoders, device)["video"])
    checkpoint.load_into(model, model_dir)
    model.to(llm.dtype)
    return model.eval(), tokenizer, base


def other_video(data: FeatureDataset) -> dict[str, str]:
    """video.scp with the video of another utterance of the set, the next one by length, for each.

    Lengths then differ by little; the model is given all of the other video's frames.
    """
    order = sorted(data.utterances, key=lambda u: (data.num_frames["video"][u], u))
    if len(order) < 2:
        raise ValueError(f"{data.dir} has one utterance: there is no other one's video to take")
    scp = data.source.scps["video"]
    return {u: scp[v] for u, v in zip(order, order[1:] + order[:1], strict=True)}


def decode_set(
    model: MoMEModel, tokenizer, data: FeatureDataset, scale: Scale, cfg: Config, video: str
) -> dict[str, str]:
    """The text of every utterance of a set: utterance -> text."""
    longest_first = sorted(range(len(data)), key=lambda i: (-data.length(i), data.utterances[i]))
    size, device = cfg.decode.batch_size, next(model.parameters()).device
    texts: dict[str, str] = {}
    with tqdm(total=len(data), desc=f"{scale} {data.dir.name}", unit="clip", leave=False) as bar:
        for start in range(0, len(data), size):
            with torch.inference_mode():
                batch = model.encode_mouths(data.collate(longest_first[start : start + size]))
            if video == "zeroed":
                batch["video"] = torch.zeros_like(batch["video"])
            found = decode(model, tokenizer, to_device(batch, device), scale, cfg.decode)
            texts |= dict(zip(batch["utterances"], found, strict=True))
            bar.update(len(found))
    return texts


def write_text(path: Path, texts: dict[str, str]) -> None:
    """Kaldi text, sorted by utterance, in place once it is whole."""
    beside = path.parent / "writing"
    with DatadirWriter(beside) as writer:
        for utterance in sorted(texts):
            writer["text"][utterance] = texts[utterance]
    (beside / "text").replace(path)
    beside.rmdir()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("exp_dir", type=Path, help="exp/<tag>, trained by stage 3")
    parser.add_argument("--sets", nargs="+", required=True, help="names of test sets")
    parser.add_argument("--feats", type=Path, default=Path("dump/feats"), help="features of sets")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data directories of sets")
    parser.add_argument(
        "--mouths", type=Path, default=Path("dump/mouths"), help="used by a trained video encoder"
    )
    parser.add_argument("--scales", nargs="*", help="such as a4_v2; all those trained by default")
    parser.add_argument("--model", default="best", help="best, average or checkpoints/step_<n>")
    parser.add_argument("--video", choices=VIDEO, default="own", help="what the model sees")
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU when there is one")
    parser.add_argument("--num_jobs", type=int, default=1, help="processes")
    parser.add_argument("--job", type=job_of, help="only this one, as i/n")
    parser.add_argument("overrides", nargs="*", help="such as decode.num_beams=15")
    args = parser.parse_args(argv)
    if args.num_jobs < 1:
        parser.error("--num_jobs must be 1 or more")
    return args


def main(argv: list[str] | None = None) -> None:
    """Decode every set at every scale that is not decoded yet."""
    args = parse(argv)
    model_dir = args.exp_dir / args.model
    if not (args.exp_dir / "config.yaml").exists():
        raise FileNotFoundError(f"{args.exp_dir}/config.yaml is missing: run stage 3 to train")
    cfg = config.load(args.exp_dir / "config.yaml", args.overrides)
    trained = scales_of(cfg.model.task, cfg.model.audio_rates, cfg.model.video_rates)
    scales = [Scale.parse(s) for s in args.scales] if args.scales else trained
    for scale in scales:
        if scale not in trained:
            names = ", ".join(map(str, trained))
            log.warning(f"scale {scale} was not trained (those were: {names})")
    if args.video != "own" and cfg.model.task == "asr":
        raise ValueError(
            f"--video {args.video} is for models that see: {args.exp_dir} has task asr"
        )
    suffix = "" if args.video == "own" else f"_{args.video}_video"
    # A video encoder that was trained along encodes the test sets, too.
    sets_dir, table = (args.feats, "feats.json")
    if cfg.encoders.video_lora_rank:
        sets_dir, table = (args.data, "wav.scp")
    weights, todo = files.digest(model_dir / checkpoint.FILE), []
    first, step = args.job or (1, 1)
    for scale, name in [(s, n) for s in scales for n in args.sets][first - 1 :: step]:
        inputs = {
            "model": weights,
            "features": files.digest(sets_dir / name / table),
            "text": files.digest(sets_dir / name / "text"),
            "video": args.video,
            "search": config.as_dict(cfg.decode),
        }
        out_dir = args.exp_dir / f"decode_{scale}" / f"{name}{suffix}"
        if files.up_to_date(out_dir, inputs) and (out_dir / "text").exists():
            log.info(f"{out_dir} is up to date")
        else:
            todo.append((name, scale, out_dir, inputs))
    if not todo:
        return
    if not args.job and min(args.num_jobs, len(todo)) > 1:
        start_jobs("decode", argv, min(args.num_jobs, len(todo)), str(args.exp_dir))
        return
    device = args.device or device_of(args.job)
    model, tokenizer, base = load_model(model_dir, cfg, device)
    encoders = dict(zip(["video"], model.video_encoder, strict=False))  # when it was trained along

    def encode(text: str) -> list[int]:
        return text_ids(tokenizer, text)

    for name, scale, out_dir, inputs in todo:
        mouths = args.mouths / name.split("_")[0]
        how = model.streams, cfg.encoders, device
        source = open_source(sets_dir / name, mouths, *how, ready=encoders)
        encoders = source.encoders
        data = FeatureDataset(source, encode)
        data.check_encoders(base["features"])
        data.check_rates([scale.audio] if scale.audio else [])
        if args.video == "other":
            data.source.scps["video"] = other_video(data)
        start = time.monotonic()
        texts = decode_set(model, tokenizer, data, scale, cfg, args.video)
        spent = time.monotonic() - start
        files.clear_stamp(out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        write_text(out_dir / "text", texts)
        about = {"data": str(args.data / name), "video": args.video, "seconds": round(spent, 2)}
        (out_dir / "decode.json").write_text(json.dumps(about | inputs, indent=1) + "\n")
        files.write_stamp(out_dir, inputs)
        log.info(f"{out_dir / 'text'}: {len(texts)} utterances in {spent:.1f} s")


if __name__ == "__main__":
    run(main)

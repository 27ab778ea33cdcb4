"""Decode: python -m mome.bin.decode exp/<tag> --sets test test_babble_0 --scales a4_v2 a16_v5

Stage 4 of a recipe. Loads the model once and writes exp/<tag>/decode_<scale>/<set>/text for each
scale and test set, as Kaldi text sorted by utterance, and beside it `score`: the mean
log-probability of the tokens of each text, in nats; 0 is certain. Two checks show whether the model
uses the video: the set <set>_zeroed_video is <set> with frames of zeros, <set>_other_video is <set>
with the video of another utterance. They are decoded at the first and the last of the scales alone.

The pairs of a set and a scale are divided among --num_jobs processes; each process takes the next
GPU. On a cluster, run `--job 1/8` ... `--job 8/8` anywhere.
"""

import argparse
import json
import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mome import checkpoint, config, files
from mome.bin import Parser, run
from mome.bin._jobs import device_of, job_of, start_jobs
from mome.checkpoint import choose_scales, find_model
from mome.compression import Scale
from mome.config import DecodeConfig
from mome.data.featdir import find_set
from mome.data.set_name import SetName

if TYPE_CHECKING:
    from mome.decoding import Hypothesis

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodeJob:
    """A test set to decode at a scale; `out_dir` gets the results and a stamp with `inputs`."""

    set_name: str  # of the set's directory
    video: str  # what the model sees, see `mome.data.set_name.VIDEO`
    scale: Scale
    out_dir: Path
    inputs: dict[str, Any]


def missing_jobs(
    pairs: list[tuple[str, Scale]],
    exp_dir: Path,
    model_dir: Path,
    sets_dir: Path,
    search: DecodeConfig,
) -> list[DecodeJob]:
    """Those of the pairs (set, scale) that are not decoded yet, or whose inputs have changed.

    Raises FileNotFoundError, which names the sets in `sets_dir`, for a set that is not there.
    """
    weights, jobs = files.digest(model_dir / checkpoint.FILE), []
    for set_name, scale in pairs:
        video = SetName.parse(set_name).video
        own = set_name.removesuffix(f"_{video}_video")
        set_dir = find_set(sets_dir, own)
        is_data_dir = (set_dir / "wav.scp").exists()
        inputs = {
            "model": weights,
            "features": files.digest(set_dir / ("wav.scp" if is_data_dir else "feats.json")),
            "text": files.digest(set_dir / "text"),
            "video": video,
            "search": config.as_dict(search),
        }
        out_dir = exp_dir / f"decode_{scale}" / set_name
        if files.up_to_date(out_dir, inputs) and (out_dir / "text").exists():
            log.info(f"{out_dir} is up to date")
        else:
            jobs.append(DecodeJob(own, video, scale, out_dir, inputs))
    return jobs


def write_results(
    job: DecodeJob, found: "dict[str, Hypothesis]", data_dir: Path, seconds: float
) -> None:
    """Write Kaldi tables sorted by utterance, text and score, then decode.json and a stamp."""
    files.clear_stamp(job.out_dir)
    tables = {
        "text": {utterance: hypothesis.text for utterance, hypothesis in found.items()},
        "score": {utterance: f"{hypothesis.score:.6f}" for utterance, hypothesis in found.items()},
    }
    for name, table in tables.items():
        files.write_text(job.out_dir / name, "".join(f"{u} {table[u]}\n" for u in sorted(table)))
    record = {"data": str(data_dir), "video": job.inputs["video"], "seconds": round(seconds, 2)}
    files.write_text(job.out_dir / "decode.json", json.dumps(record | job.inputs, indent=1) + "\n")
    files.write_stamp(job.out_dir, job.inputs)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("exp_dir", type=Path, help="exp/<tag>, trained by stage 3")
    parser.add_argument("--sets", nargs="+", required=True, help="such as test test_other_video")
    parser.add_argument("--feats", type=Path, default=Path("dump/feats"), help="features of sets")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data directories of sets")
    parser.add_argument(
        "--mouths", type=Path, default=Path("dump/mouths"), help="for a trained video encoder"
    )
    parser.add_argument("--scales", nargs="*", help="such as a4_v2; all those trained by default")
    parser.add_argument("--model", default="best", help="best, average or checkpoints/step_<n>")
    parser.add_argument("--device", help="cpu, cuda, ...; default: a GPU when there is one")
    parser.add_argument("--num_jobs", type=int, default=1, help="processes")
    parser.add_argument("--job", type=job_of, help="only this one, as i/n")
    parser.add_argument("overrides", nargs="*", help="such as decode.num_beams=15")
    args = parser.parse_args(argv)
    if args.num_jobs < 1:
        parser.error("--num_jobs must be 1 or more")
    return args


def main(argv: list[str] | None = None) -> None:
    """Decode the sets at the scales, where that has not been done yet."""
    args = parse(argv)
    model_dir = find_model(args.exp_dir, args.model)
    cfg = config.load(args.exp_dir / "config.yaml", args.overrides)
    cfg = checkpoint.resolve(cfg, model_dir)
    checks = [name for name in args.sets if SetName.parse(name).video != "own"]
    if checks and cfg.model.task == "asr":
        raise ValueError(f"{checks[0]} is for models with video: {args.exp_dir} has task asr")
    # A video encoder that was trained with the model encodes the test sets too.
    sets_dir = args.data if cfg.encoders.video_lora_rank else args.feats
    first, step = args.job or (1, 1)
    scales = choose_scales(cfg, args.scales)
    pairs = [
        (name, scale)
        for scale in scales
        for name in args.sets
        if name not in checks or scale in (scales[0], scales[-1])
    ][first - 1 :: step]
    jobs = missing_jobs(pairs, args.exp_dir, model_dir, sets_dir, cfg.decode)
    if not jobs:
        return
    if not args.job and min(args.num_jobs, len(jobs)) > 1:
        start_jobs("decode", argv, min(args.num_jobs, len(jobs)), str(args.exp_dir))
        return

    # heavy: not for a process that only starts others
    from mome.data.dataset import FeatureDataset
    from mome.data.features import open_source
    from mome.decoding import decode_set, load_model, other_video
    from mome.prompt import text_ids

    device = args.device or device_of(args.job)
    model, tokenizer, base = load_model(model_dir, cfg, device)
    encoders = dict(zip(["video"], model.video_encoder, strict=False))  # none if it was frozen
    for job in jobs:
        mouths_dir = args.mouths / SetName.parse(job.set_name).base
        source = open_source(
            sets_dir / job.set_name, mouths_dir, model.streams, cfg.encoders, device, ready=encoders
        )
        encoders = source.encoders
        data = FeatureDataset(source, partial(text_ids, tokenizer))
        data.check_encoders(base["features"])
        data.check_rates([job.scale.audio] if job.scale.audio else [])
        if job.video == "other":
            data.source.scps["video"] = other_video(data)
        start = time.monotonic()
        found = decode_set(model, tokenizer, data, job.scale, cfg.decode, job.video)
        seconds = time.monotonic() - start
        write_results(job, found, args.data / job.set_name, seconds)
        log.info(f"{job.out_dir / 'text'}: {len(found)} utterances in {seconds:.1f} s")


if __name__ == "__main__":
    run(main)

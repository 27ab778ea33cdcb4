"""Train a small AV-HuBERT on the phone of each frame: python -m mome.bin.pretrain_video ...

Stage 2 of the mini recipe. Writes OUT_DIR/{config.json,model.safetensors}, and logs the share of
frames whose phone is right on the validation set, which must have other speakers.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from mome import files
from mome.bin import Parser, run

FORMAT = 2
SMALL: dict[str, Any] = {
    "dim": 256,
    "ffn_dim": 768,
    "num_layers": 2,
    "num_heads": 4,
    "position_kernel": 16,
    "position_groups": 8,
    "frontend_dim": 16,
    "frontend_stride": 4,
    "resnet_dims": [24, 48, 96],
    "resnet_blocks": [1, 1, 1],
    "relu": "relu",
    "audio_dim": 0,
}
log = logging.getLogger(__name__)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    for name in ("train_data_dir", "train_mouths_dir", "valid_data_dir", "valid_mouths_dir"):
        parser.add_argument(name, type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--config", type=Path, help="JSON of AVHuBERTConfig; default: a small one")
    parser.add_argument("--num_steps", type=int, default=1400, help="updates of the weights")
    parser.add_argument("--batch_frames", type=int, default=320, help="frames in an update, about")
    parser.add_argument("--learning_rate", type=float, default=2e-3, help="the highest")
    parser.add_argument(
        "--num_jobs",
        type=int,
        default=2,
        help="processes that share each update; another number gives other weights",
    )
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    if min(args.num_steps, args.batch_frames, args.num_jobs) < 1:
        parser.error("--num_steps, --batch_frames and --num_jobs must be at least 1")
    return args


def inputs_of(args: argparse.Namespace) -> dict:
    """What the encoder is made from, for its stamp."""
    tables = {
        args.train_data_dir: ["phones", "utt2spk", files.STAMP],
        args.train_mouths_dir: ["mouths.scp", files.STAMP],
        args.valid_data_dir: ["phones", "utt2spk", files.STAMP],
        args.valid_mouths_dir: ["mouths.scp", files.STAMP],
    }
    return {
        "format": FORMAT,
        "options": {k: str(v) for k, v in vars(args).items() if k != "out_dir"},
        "config": files.digest(args.config) if args.config else SMALL,
        "data": {str(p): [files.digest(p / name) for name in tables[p]] for p in tables},
    }


def main(argv: list[str] | None = None) -> None:
    """Train the encoder, unless OUT_DIR holds it already."""
    args = parse(argv)
    inputs = inputs_of(args)
    if files.up_to_date(args.out_dir, inputs):
        log.info(f"{args.out_dir} is up to date")
        return
    files.clear_stamp(args.out_dir)

    from mome.avhubert import AVHuBERTConfig  # heavy: not for a run that has nothing to do
    from mome.training.video_encoder import Schedule, VideoSet, pretrain

    pretrain(
        VideoSet(args.train_data_dir, args.train_mouths_dir),
        VideoSet(args.valid_data_dir, args.valid_mouths_dir),
        args.out_dir,
        AVHuBERTConfig.from_file(args.config) if args.config else AVHuBERTConfig(**SMALL),
        Schedule(args.num_steps, args.batch_frames, args.learning_rate, args.seed),
        args.num_jobs,
    )
    files.write_stamp(args.out_dir, inputs)


if __name__ == "__main__":
    run(main)

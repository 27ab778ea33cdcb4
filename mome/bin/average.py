"""Average: python -m mome.bin.average exp/<tag> [--last 5], the mean of the last checkpoints.

Writes exp/<tag>/average/, a model folder like best/.
"""

import logging
from pathlib import Path

from mome import checkpoint, config, files
from mome.bin import Parser, run

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Average the newest checkpoints of an experiment."""
    parser = Parser(__doc__)
    parser.add_argument("exp_dir", type=Path, help="exp/<tag>, trained by stage 3")
    parser.add_argument("--last", type=int, default=5, help="checkpoints to average")
    args = parser.parse_args(argv)
    if args.last < 1:
        parser.error("--last must be 1 or more")
    folder = args.exp_dir / "checkpoints"
    steps = checkpoint.steps(args.exp_dir)[-args.last :]
    if not steps:
        raise FileNotFoundError(f"{folder} holds no checkpoint: run stage 3 to train")
    if len(steps) < args.last:
        log.info(f"{folder} holds {len(steps)} checkpoints, fewer than --last {args.last}")
    inputs = {p.name: files.digest(p / checkpoint.FILE) for p in steps}
    out_dir = args.exp_dir / "average"
    if files.up_to_date(out_dir, inputs):
        log.info(f"{out_dir} is up to date")
        return
    cfg = config.load(args.exp_dir / "config.yaml")
    checkpoint.save(out_dir, checkpoint.average(steps), cfg, checkpoint.read_base(steps[-1]))
    files.write_stamp(out_dir, inputs)
    log.info(f"{out_dir}: mean of {', '.join(inputs)}")


if __name__ == "__main__":
    run(main)

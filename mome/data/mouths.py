"""Mouth crops of a data set: python -m mome.bin.crop_mouths data/train dump/mouths/train

Stage 1 of a recipe. Writes OUT_DIR/<speaker>/<utterance>.mp4 (96x96, grey, 25 frames a second),
mouths.scp, and skipped.txt for clips without a face. A clip that is cropped already, from the same
media and by the same landmarks, is not cropped again. On a cluster, run `--job 1/8` ... `--job 8/8`
anywhere, then the command without it, which joins them.
"""

import argparse
import importlib.util
import logging
import time
from pathlib import Path

from mome import files
from mome.bin import Parser, job_of, run, start_logging
from mome.data import ark, frame_range

VERSION = 3  # of the crops: raise it when the same media would give others
NEEDS = {  # modules that find landmarks, and the command that installs them
    "mediapipe": (["mediapipe"], "tools/install.sh"),
    "mtcnn": (
        ["facenet_pytorch", "requests", "PIL"],
        "pip install requests pillow && pip install --no-deps facenet-pytorch==2.6.0",
    ),
}
log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Crop every mouth of a set that is not cropped yet."""
    from mome.data import datadir, video

    args = parse(argv, video.BACKENDS)
    check_installed(args.landmarks)
    data = datadir.read(args.data_dir)
    index, total = args.job or (1, 1)
    chosen = sorted(data.video)[index - 1 :: total]
    jobs = {u: (data.video[u], args.out_dir / data.utt2spk[u] / f"{u}.mp4") for u in chosen}
    paths = {u: mouth_path for u, (_, mouth_path) in jobs.items()}
    marks = {u: frame_range.mark(data.video[u], args.landmarks, VERSION) for u in jobs}
    scp_path = args.out_dir / "mouths.scp"
    known = datadir.read_skipped(args.out_dir)
    there = all(path.exists() for u, path in paths.items() if u not in known)
    if not args.job and files.up_to_date(args.out_dir, marks) and scp_path.exists() and there:
        log.info("%s is up to date", args.out_dir)
        return

    files.clear_stamp(args.out_dir)
    began = time.monotonic()
    results, num_new = files.run_clip_jobs(
        crop,
        {u: (*job, args.landmarks) for u, job in jobs.items()},
        marks,
        paths,
        args.out_dir / (f"done.{index}of{total}.jsonl" if args.job else "done.jsonl"),
        args.num_jobs,
        f"mouths {args.out_dir.name}",
        start_logging,
    )
    took = time.monotonic() - began
    skipped = files.skipped(results)
    if args.job:
        left_out = f"; {len(skipped)} left out" if skipped else ""
        log.info(f"job {index}/{total}: {num_new} clips cropped in {took:.0f} s{left_out}")
        return
    where = datadir.write_skipped(args.out_dir, skipped)
    datadir.check_skipped(skipped, len(jobs), datadir.is_test(args.data_dir), where)
    cropped = {u: r for u, r in results.items() if u not in skipped}
    ark.write_scp(scp_path, {u: str(paths[u]) for u in cropped})
    files.write_stamp(args.out_dir, marks)
    num_frames = sum(r["num_frames"] for r in cropped.values())
    lost = sum(r["num_frames"] - r["num_found"] for r in cropped.values())
    log.info(
        f"{args.out_dir}: {num_new} clips cropped in {took:.0f} s, {len(jobs) - num_new} there;"
        f" {len(skipped)} left out; landmarks interpolated in {lost} frames of {num_frames}"
    )


def parse(argv: list[str] | None, backends: tuple[str, ...]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("data_dir", type=Path, help="such as data/train")
    parser.add_argument("out_dir", type=Path, help="such as dump/mouths/train")
    parser.add_argument(
        "--landmarks",
        choices=backends,
        default="mediapipe",
        help="find the face, or cut a fixed box from clips that are face tracks already",
    )
    parser.add_argument("--num_jobs", type=int, default=2, help="processes")
    parser.add_argument("--job", type=job_of, help="only this part of the set, as i/n")
    return parser.parse_args(argv)


def check_installed(landmarks: str) -> None:
    """Raises ValueError when what finds these landmarks is not installed."""
    modules, command = NEEDS.get(landmarks, ([], ""))
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        names = ", ".join(missing)
        raise ValueError(f"--landmarks {landmarks} needs {names}, not found here: run {command}")


def crop(media_path: str, mouth_path: Path, landmarks: str) -> dict[str, int]:
    """Write the mouths of one clip; how many frames it has, and in how many there was a face."""
    import cv2

    from mome.data import video

    cv2.setNumThreads(1)  # a process is one thread
    if landmarks == "mtcnn":
        import torch

        torch.set_num_threads(1)
    mouth, num_found = video.mouths_of(media_path, landmarks)
    video.write_mouth(mouth_path, mouth)
    return {"num_frames": len(mouth), "num_found": num_found}


if __name__ == "__main__":
    run(main)

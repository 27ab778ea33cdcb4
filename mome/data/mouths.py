"""Stage 1, mouths: crop the mouth from every clip of a data directory, and list the crops."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mome import files
from mome.data import ark, datadir, frame_range, landmarks, video
from mome.data.set_name import SetName

VERSION = 3  # of the crops: raise it when the same media would give others
METHODS = (*landmarks.BACKENDS, "centre")  # by landmarks, or a fixed box in the middle
log = logging.getLogger(__name__)


def crop_set(
    data_dir: Path,
    out_dir: Path,
    method: str = "mediapipe",
    num_jobs: int = 1,
    job: tuple[int, int] | None = None,
    max_skipped: float = datadir.MAX_SKIPPED,
    max_skipped_test: float = 0.0,
    start: Callable[[], None] | None = None,
) -> None:
    """Write `out_dir/<speaker>/<utterance>.mp4`, mouths.scp and skipped.txt.

    Clips that are cropped already, from the same media by the same method, are not cropped again.

    Args:
        method: one of METHODS.
        num_jobs: processes.
        job: (i, n) crops each n-th clip only, from number i on, and leaves joining to a call
            without `job`.
        max_skipped, max_skipped_test: see `datadir.check_skipped`.
        start: called once in each process other than this one.

    Raises ValueError when a package is missing or too many clips have no face.
    """
    if method in landmarks.BACKENDS:
        landmarks.check_installed(method)
    data = datadir.read(data_dir)
    index, total = job or (1, 1)
    utterances = sorted(data.video)[index - 1 :: total]
    paths = {u: out_dir / data.utt2spk[u] / f"{u}.mp4" for u in utterances}
    marks = {u: frame_range.mark(data.video[u], method, VERSION) for u in utterances}
    if not job and is_complete(out_dir, marks, paths):
        log.info("%s is up to date", out_dir)
        return

    files.clear_stamp(out_dir)
    began = time.monotonic()
    results, num_new = files.run_clip_jobs(
        crop_clip,
        {u: (data.video[u], paths[u], method) for u in utterances},
        marks,
        paths,
        out_dir / (f"done.{index}of{total}.jsonl" if job else "done.jsonl"),
        num_jobs,
        f"mouths {out_dir.name}",
        start,
    )
    if not job:
        is_test = SetName.parse(data_dir).is_test
        write_index(out_dir, paths, files.skipped(results), is_test, max_skipped, max_skipped_test)
        files.write_stamp(out_dir, marks)
    took = time.monotonic() - began
    name = f"job {index}/{total}" if job else str(out_dir)
    log.info(f"{name}: {num_new} clips cropped in {took:.0f} s{summary(results, num_new)}")


def is_complete(out_dir: Path, marks: dict[str, str], paths: dict[str, Path]) -> bool:
    """Whether the folder has the crops of these clips, but for those that were left out."""
    skipped = datadir.read_skipped(out_dir)
    return (
        files.up_to_date(out_dir, marks)
        and (out_dir / "mouths.scp").exists()
        and all(path.exists() for u, path in paths.items() if u not in skipped)
    )


def write_index(
    out_dir: Path,
    paths: dict[str, Path],
    skipped: dict[str, str],
    is_test: bool,
    max_skipped: float,
    max_skipped_test: float,
) -> None:
    """Write skipped.txt and mouths.scp. Raises ValueError when too many clips were left out."""
    skipped_path = datadir.write_skipped(out_dir, skipped)
    limits = max_skipped, max_skipped_test
    datadir.check_skipped(skipped, len(paths), is_test, skipped_path, *limits)
    ark.write_scp(out_dir / "mouths.scp", {u: str(p) for u, p in paths.items() if u not in skipped})


def summary(results: dict[str, dict], num_new: int) -> str:
    """The end of the log line: clips done before, clips left out, images without a face."""
    skipped = files.skipped(results)
    cropped = [result for u, result in results.items() if u not in skipped]
    num_images = sum(result["num_frames"] for result in cropped)
    num_found = sum(result["num_found"] for result in cropped)
    return (
        f", {len(results) - num_new} before; {len(skipped)} left out; landmarks interpolated in"
        f" {num_images - num_found} images of {num_images}"
    )


def crop_clip(media_path: str, mouth_path: Path, method: str) -> dict[str, int]:
    """Write the mouths of one clip; returns its number of images, and of those with a face."""
    cv2.setNumThreads(1)  # the clips are spread over processes
    if method == "mtcnn":
        import torch

        torch.set_num_threads(1)
    mouth, num_found = mouths_of(media_path, method)
    video.write_mouth(mouth_path, mouth)
    return {"num_frames": len(mouth), "num_found": num_found}


def mouths_of(path: str | Path, method: str = "mediapipe") -> tuple[np.ndarray, int]:
    """The mouth crops of a media file, uint8 (T, 96, 96), and the number of images with a face.

    Raises FileNotFoundError, or ValueError for media that cannot be read and when less than half
    of the images have a face.
    """
    images = video.read_images(path)
    if method == "centre":
        return video.crop_centre(images), len(images)
    points = landmarks.find(images, method)
    try:
        mouth = video.crop_mouth(images, video.fill_in(points))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return mouth, int((~np.isnan(points[:, 0, 0])).sum())

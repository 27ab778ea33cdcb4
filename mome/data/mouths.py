"""Stage 1, mouths: crop the mouth from every clip of a data directory, and list the crops.

The crops of a clip are (T, 96, 96) uint8, grey, at 25 frames a second. Landmarks (both eyes, base
of the nose, mouth; see landmarks.py) are interpolated where the face was lost, and smoothed over
time. A similarity transform then maps eyes and nose to those of a mean face and the mouth to the
middle of the crop, so the mouth is upright and has one size in every clip. The mean face is that of
AV-HuBERT's crops (68-point landmarks averaged over LRW): its pretrained encoder sees the crops that
it was trained on.

Shape key: T images of a clip, H, W pixels.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mome import files
from mome.data import ark, clip_jobs, crops, datadir, landmarks, validation, video
from mome.data.set_name import SetName

VERSION = 3  # of the crops: raise it when the same media would give others
SMOOTHING = 7  # images, of the moving average over landmarks
MIN_FOUND = 0.5  # share of the images in which a face must be found
# Left eye, right eye and base of the nose in a crop, in pixels from the middle of the mouth.
MEAN_FACE = np.array([[-27.3, -63.5], [27.0, -64.2], [-0.4, -21.9]])
WEIGHTS = np.array([2.0, 2.0, 1.0])  # an eye is the mean of two corners
# Box of the mouth in a clip of LRS2 or LRS3, as shares of width and height. It has half of each
# side, as in Afouras et al. 2018, but lies lower, where the mouth is.
CENTRE_BOX = (0.25, 0.33, 0.75, 0.83)  # left, top, right, bottom
log = logging.getLogger(__name__)


def crop_set(
    data_dir: Path,
    out_dir: Path,
    method: str = "mediapipe",
    every: int = 1,
    num_jobs: int = 1,
    job: tuple[int, int] | None = None,
    max_skipped: float = validation.MAX_SKIPPED,
    max_skipped_test: float = 0.0,
    start: Callable[[], None] | None = None,
) -> None:
    """Write `out_dir/<speaker>/<utterance>.mp4`, mouths.scp and skipped.txt.

    Clips that are cropped already, from the same media by the same method, are not cropped again.

    Args:
        method: one of `landmarks.METHODS`.
        every: landmarks are found in each `every`-th image.
        num_jobs: processes.
        job: (i, n) crops each n-th clip only, from number i on, and leaves joining to a call
            without `job`.
        max_skipped, max_skipped_test: see `validation.check_skipped`.
        start: called once in each process other than this one.

    Raises ValueError when a package is missing or too many clips have no face.
    """
    if method in landmarks.BACKENDS:
        landmarks.check_installed(method)
    data = datadir.read(data_dir)
    index, total = job or (1, 1)
    utterances = sorted(data.video)[index - 1 :: total]
    paths = {u: out_dir / data.utt2spk[u] / f"{u}.mp4" for u in utterances}
    sparse = [f"every {every}"] if every > 1 else []  # records are older than this option
    marks = {u: clip_jobs.mark(data.video[u], method, VERSION, *sparse) for u in utterances}
    if not job and is_complete(out_dir, marks, paths):
        log.info("%s is up to date", out_dir)
        return

    files.clear_stamp(out_dir)
    began = time.monotonic()
    results, num_new = clip_jobs.run(
        crop_clip,
        {u: (data.video[u], paths[u], method, every) for u in utterances},
        marks,
        paths,
        out_dir / (f"done.{index}of{total}.jsonl" if job else "done.jsonl"),
        num_jobs,
        f"mouths {out_dir.name}",
        start,
    )
    if not job:
        is_test = SetName.parse(data_dir).is_test
        write_index(
            out_dir, paths, clip_jobs.skipped(results), is_test, max_skipped, max_skipped_test
        )
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
    validation.check_skipped(skipped, len(paths), is_test, skipped_path, *limits)
    ark.write_scp(out_dir / "mouths.scp", {u: str(p) for u, p in paths.items() if u not in skipped})


def summary(results: dict[str, dict], num_new: int) -> str:
    """The end of the log line: clips done before, clips left out, images without a face."""
    skipped = clip_jobs.skipped(results)
    cropped = [result for u, result in results.items() if u not in skipped]
    num_images = sum(result["num_frames"] for result in cropped)
    num_found = sum(result["num_found"] for result in cropped)
    return (
        f", {len(results) - num_new} before; {len(skipped)} left out; no face in"
        f" {num_images - num_found} images of {num_images}"
    )


def crop_clip(media_path: str, mouth_path: Path, method: str, every: int = 1) -> dict[str, int]:
    """Write the mouths of one clip; returns its number of images, and of those with a face."""
    cv2.setNumThreads(1)  # the clips are spread over processes
    if method == "mtcnn":
        import torch

        torch.set_num_threads(1)
    mouth, num_found = mouths_of(media_path, method, every)
    crops.write(mouth_path, mouth)
    return {"num_frames": len(mouth), "num_found": num_found}


def mouths_of(
    path: str | Path, method: str = "mediapipe", every: int = 1
) -> tuple[np.ndarray, int]:
    """The mouth crops of a media file, uint8 (T, 96, 96), and the number of images with a face.

    Landmarks are found in each `every`-th image and interpolated between them. That is enough where
    the head moves slowly. An image between two with a face counts as one with a face.

    Raises FileNotFoundError, or ValueError for media that cannot be read and when less than half
    of the images have a face.
    """
    images = video.read_images(path)
    if method == "centre":
        return crop_centre(images), len(images)
    points = between(landmarks.find(images[::every], method), every, len(images))
    try:
        mouth = crop_mouth(images, fill_in(points))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return mouth, int((~np.isnan(points[:, 0, 0])).sum())


def between(points: np.ndarray, every: int, num_images: int) -> np.ndarray:
    """Landmarks (N, 4, 2) of each `every`-th image, N = ceil(T / every) -> (T, 4, 2) of all T.

    Those between two images are interpolated; if either of the two is NaN, the result is NaN. After
    the last one, its landmarks are repeated.
    """
    if every == 1:
        return points
    t = np.arange(num_images) / every
    low = np.minimum(t.astype(int), len(points) - 1)
    high, share = np.minimum(low + 1, len(points) - 1), (t - low)[:, None, None]
    mixed = points[low] * (1 - share) + points[high] * share
    return np.where(share == 0, points[low], mixed).astype(np.float32)


def fill_in(points: np.ndarray) -> np.ndarray:
    """Landmarks (T, 4, 2) without gaps and smoothed over time.

    Gaps are interpolated; at the ends, the nearest landmarks are repeated. Raises ValueError when a
    face was found in less than half of the images.
    """
    found = ~np.isnan(points[:, 0, 0])
    if not found.any() or found.mean() < MIN_FOUND:
        raise ValueError(f"a face was found in {found.sum()} of {len(found)} images")
    t, known = np.arange(len(points)), np.flatnonzero(found)
    flat = points.reshape(len(points), -1)
    filled = np.stack([np.interp(t, known, flat[known, k]) for k in range(flat.shape[1])], axis=1)
    half = SMOOTHING // 2
    padded = np.pad(filled, ((half, half), (0, 0)), mode="edge")
    kernel = np.ones(SMOOTHING) / SMOOTHING
    smooth = np.stack([np.convolve(c, kernel, "valid") for c in padded.T], axis=1)
    return smooth.reshape(points.shape).astype(np.float32)


def to_crop(points: np.ndarray) -> np.ndarray:
    """The similarity transforms (T, 2, 3) from images to crops, for landmarks (T, 4, 2).

    Rotation and scale are the least-squares fit of eyes and nose to the mean face. The translation
    puts the mouth in the middle. Raises ValueError when eyes and nose are in one place.
    """
    z = points[..., 0] + 1j * points[..., 1]
    mean_face = MEAN_FACE[:, 0] + 1j * MEAN_FACE[:, 1]
    own = z[:, :3] - np.average(z[:, :3], axis=1, weights=WEIGHTS)[:, None]
    target = mean_face - np.average(mean_face, weights=WEIGHTS)
    size = (WEIGHTS * np.abs(own) ** 2).sum(axis=1)
    if not (size > 1).all():
        raise ValueError("the landmarks do not form a face")
    turn = (WEIGHTS * own.conj() * target).sum(axis=1) / size
    move = (crops.SIZE - 1) / 2 * (1 + 1j) - turn * z[:, 3]
    rows = [[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]]
    return np.moveaxis(np.array(rows), -1, 0)


def crop_mouth(images: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The mouth in each image, grey, uint8 (T, 96, 96); `points` (T, 4, 2) as from `fill_in`."""
    cropped = []
    for image, transform in zip(images, to_crop(points), strict=True):
        grey = _grey(image)
        shrink = int(1 / np.hypot(*transform[:, 0]))
        if shrink > 1:  # a large face: average pixels first, against aliasing
            size = (grey.shape[1] // shrink, grey.shape[0] // shrink)
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
            transform = transform @ np.diag([shrink, shrink, 1.0])
        cropped.append(
            cv2.warpAffine(
                grey,
                transform,
                (crops.SIZE, crops.SIZE),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )
    return np.stack(cropped)


def crop_centre(images: np.ndarray) -> np.ndarray:
    """The mouth of a clip that is a face track: a fixed box of each image, (T, 96, 96)."""
    _, height, width = images.shape[:3]
    left, top, right, bottom = CENTRE_BOX
    x = slice(int(left * width), int(right * width))
    y = slice(int(top * height), int(bottom * height))
    boxes = [_grey(image)[y, x] for image in images]
    return np.stack(
        [cv2.resize(b, (crops.SIZE, crops.SIZE), interpolation=cv2.INTER_AREA) for b in boxes]
    )


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image

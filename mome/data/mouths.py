"""Stage 1, mouths: crop the mouth from every clip of a data directory, and list the crops.

The crops of a clip are (T, 96, 96) uint8, grey, at 25 frames a second. Landmarks (both eyes, base
of the nose, mouth; see landmarks.py) are interpolated where the face was lost, and smoothed over
time. A similarity transform then maps eyes and nose to those of a mean face and the mouth to the
middle of the crop, so the mouth is upright and has one size in every clip. The mean face is that of
AV-HuBERT's crops (68-point landmarks averaged over LRW): its pretrained encoder sees the crops that
it was trained on.

As in AV-HuBERT's preparation, smoothing is for the shape of the face, that is for the turn and the
size of the crop. The position follows the face from image to image, so a camera that shakes does
not move the mouth in the crop. With landmarks in each n-th image only, the position in between is
interpolated: it then follows a movement that is slower than about 25 / 4n times a second.

    what a clip has                    what comes out
    a face in all images               crops
    no face in some images             crops by interpolated landmarks; where less than LOW_FOUND of
                                       the images have one, the share is listed in low_face.txt
    a face in too few images           no crops: left out with the reason (option `min_found`)
    damaged or missing images          crops of the nearest good images, and a line in notes.txt
    images that are not square         with `centre`, a line in notes.txt: the box is that of a face
                                       track
    any length and size                memory holds KEPT_BYTES of grey images; above, the file is
                                       decoded a second time

Shape key: T images of a clip, H, W pixels.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mome import files
from mome.data import ark, clip_jobs, crops, datadir, landmarks, validation, video
from mome.data.set_name import SetName

VERSION = 4  # of the crops: raise it when the same media would give others
SMOOTHING = 7  # images, of the moving average over landmarks
MIN_FOUND = 0.5  # share of the images in which a face must be found
LOW_FOUND = 0.9  # clips with a face in a smaller share of their images are listed
KEPT_BYTES = 64_000_000  # of grey images of a clip; 50 s of images of 224 x 224
SQUARE = 0.05  # share by which the sides of a face track may differ
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
    min_found: float = MIN_FOUND,
) -> None:
    """Write `out_dir/<speaker>/<utterance>.mp4`, mouths.scp and lists of clips.

    The lists are skipped.txt, low_face.txt (the share of images with a face, where it is below
    LOW_FOUND) and notes.txt (damaged images and other findings).
    Clips that are cropped already, from the same media by the same method, are not cropped again.

    Args:
        method: one of `landmarks.METHODS`.
        every: landmarks are found in each `every`-th image.
        num_jobs: processes.
        job: (i, n) crops each n-th clip only, from number i on; a call without it joins them.
        max_skipped, max_skipped_test: see `validation.check_skipped`.
        start: called once in each process other than this one.
        min_found: a clip with a face in a smaller share of its images is left out.

    Raises ValueError when a package is missing or too many clips have no face.
    """
    if method in landmarks.BACKENDS:
        landmarks.check_installed(method)
    data = datadir.read(data_dir)
    index, total = job or (1, 1)
    utterances = sorted(data.video)[index - 1 :: total]
    paths = {u: out_dir / data.utt2spk[u] / f"{u}.mp4" for u in utterances}
    options = (method, VERSION, *([f"every {every}"] if every > 1 else []))
    marks = {u: clip_jobs.mark(data.video[u], *options) for u in utterances}
    stamp = marks if min_found == MIN_FOUND else {**marks, "min_found": str(min_found)}
    if not job and is_complete(out_dir, stamp, paths):
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
    results = {u: enough(r, min_found, data.video[u]) for u, r in results.items()}
    if not job:
        is_test = SetName.parse(data_dir).is_test
        write_index(out_dir, paths, results, is_test, max_skipped, max_skipped_test)
        files.write_stamp(out_dir, stamp)
    name, took = f"job {index}/{total}" if job else str(out_dir), time.monotonic() - began
    log.info(f"{name}: {num_new} clips cropped in {took:.0f} s{summary(results, num_new)}")


def enough(result: dict, min_found: float, media_path: str) -> dict:
    """The result of a clip, or the reason to leave it out when it has a face in too few images."""
    if clip_jobs.SKIPPED in result or result["num_found"] >= min_found * result["num_frames"]:
        return result
    return {
        clip_jobs.SKIPPED: f"{media_path}: a face was found in {result['num_found']} of"
        f" {result['num_frames']} images"
    }


def is_complete(out_dir: Path, stamp: dict[str, str], paths: dict[str, Path]) -> bool:
    """Whether the folder has the crops of these clips, but for those that were left out."""
    skipped = datadir.read_skipped(out_dir)
    return (
        files.up_to_date(out_dir, stamp)
        and (out_dir / "mouths.scp").exists()
        and all(path.exists() for u, path in paths.items() if u not in skipped)
    )


def write_index(
    out_dir: Path,
    paths: dict[str, Path],
    results: dict[str, dict],
    is_test: bool,
    max_skipped: float,
    max_skipped_test: float,
) -> None:
    """Write the lists and mouths.scp. Raises ValueError when too many clips were left out."""
    write_notes(out_dir, results)
    skipped = clip_jobs.skipped(results)
    skipped_path = datadir.write_skipped(out_dir, skipped)
    limits = max_skipped, max_skipped_test
    validation.check_skipped(skipped, len(paths), is_test, skipped_path, *limits)
    ark.write_scp(out_dir / "mouths.scp", {u: str(p) for u, p in paths.items() if u not in skipped})


def write_notes(out_dir: Path, results: dict[str, dict]) -> None:
    """Write low_face.txt, the lowest share first, and notes.txt; neither without an entry."""
    cropped = {u: r for u, r in results.items() if clip_jobs.SKIPPED not in r}
    shares = {u: r["num_found"] / r["num_frames"] for u, r in cropped.items()}
    low = sorted((share, u) for u, share in shares.items() if share < LOW_FOUND)
    lists = {
        "low_face.txt": [f"{u}\t{share:.2f}\n" for share, u in low],
        "notes.txt": [f"{u}\t{r['note']}\n" for u, r in cropped.items() if "note" in r],
    }
    for name, lines in lists.items():
        if lines:
            files.write_text(out_dir / name, "".join(lines))
            log.warning(f"{out_dir / name} lists {len(lines)} clips, such as {lines[0].strip()}")
        else:
            (out_dir / name).unlink(missing_ok=True)


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


def crop_clip(media_path: str, mouth_path: Path, method: str, every: int = 1) -> dict:
    """Write the mouths of one clip; returns its number of images, and of those with a face.

    Whether these are enough is decided for the whole set. What is to be known about the clip is
    returned as "note".
    """
    cv2.setNumThreads(1)  # the clips are spread over processes
    if method == "mtcnn":
        import torch

        torch.set_num_threads(1)
    mouths = crop(media_path, method, every, min_found=0.0)
    crops.write(mouth_path, mouths.images)
    note = {"note": mouths.note} if mouths.note else {}
    return {"num_frames": len(mouths.images), "num_found": mouths.num_found, **note}


def mouths_of(
    path: str | Path, method: str = "mediapipe", every: int = 1, min_found: float = MIN_FOUND
) -> tuple[np.ndarray, int]:
    """The mouth crops of a media file, uint8 (T, 96, 96), and the number of images with a face.

    As `crop`; the log warns of what is noted about the clip.
    """
    mouths = crop(path, method, every, min_found)
    if mouths.note:
        log.warning(f"{path}: {mouths.note}")
    return mouths.images, mouths.num_found


class Mouths(NamedTuple):
    """The mouth crops of a clip.

    Attributes:
        images: uint8 (T, 96, 96).
        num_found: how many images have a face; T with the method `centre`, which looks for none.
        note: what is wrong with the clip; "" when nothing is.
    """

    images: np.ndarray
    num_found: int
    note: str


def crop(
    path: str | Path, method: str = "mediapipe", every: int = 1, min_found: float = MIN_FOUND
) -> Mouths:
    """The mouth crops of a media file, or of a piece of one as in video.scp.

    Landmarks are found in each `every`-th image and interpolated between them. That is enough where
    the head moves slowly. An image between two with a face counts as one with a face.

    Raises FileNotFoundError, or ValueError for media that cannot be read (see `video`) and when
    the share of images with a face is below `min_found` or none has one.
    """
    reader = video.ImageReader(path)
    if method == "centre":
        images, shape = crop_centre(reader)
        return Mouths(images, len(images), "; ".join(filter(None, [reader.lost, oblong(*shape)])))
    clip = _GreyClip(reader)
    found = landmarks.find(clip.sample(every), method)
    points = between(found, every, reader.num_images)
    try:
        images = crop_mouth(clip, fill_in(points, min_found))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Mouths(images, int((~np.isnan(points[:, 0, 0])).sum()), reader.lost)


class _GreyClip:
    """The grey images of a clip, after `sample` has read it. Those of a large clip are not kept."""

    def __init__(self, reader: video.ImageReader):
        self.reader = reader
        self.kept: list[np.ndarray] | None = []

    def sample(self, every: int) -> Iterator[np.ndarray]:
        """Each `every`-th image in RGB; all are kept in grey while they are small enough."""
        size = 0
        for t, image in enumerate(self.reader):
            if self.kept is not None:
                self.kept.append(_grey(image))
                size += self.kept[-1].nbytes
            if size > KEPT_BYTES:
                self.kept = None
            if t % every == 0:
                yield image

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from map(_grey, self.reader) if self.kept is None else self.kept


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


def fill_in(points: np.ndarray, min_found: float = MIN_FOUND) -> np.ndarray:
    """Landmarks (T, 4, 2) without gaps, whose shape is smoothed over time; their mean is not.

    Gaps are interpolated; at the ends, the nearest landmarks are repeated. Raises ValueError when a
    face was found in a smaller share of the images than `min_found`, or in none.
    """
    found = ~np.isnan(points[:, 0, 0])
    if not found.any() or found.mean() < min_found:
        raise ValueError(f"a face was found in {found.sum()} of {len(found)} images")
    t, known = np.arange(len(points)), np.flatnonzero(found)
    flat = points.reshape(len(points), -1)
    filled = np.stack([np.interp(t, known, flat[known, k]) for k in range(flat.shape[1])], axis=1)
    filled = filled.reshape(points.shape)
    place = filled.mean(axis=1, keepdims=True)
    return (place + smooth(filled - place)).astype(np.float32)


def smooth(points: np.ndarray) -> np.ndarray:
    """The moving average of (T, 4, 2) over SMOOTHING images."""
    half = SMOOTHING // 2
    padded = np.pad(points, ((half, half), (0, 0), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, SMOOTHING, axis=0).mean(axis=-1)


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


def crop_mouth(images: Iterable[np.ndarray], points: np.ndarray) -> np.ndarray:
    """The mouth in each of T images, RGB or grey: uint8 (T, 96, 96).

    `points` (T, 4, 2) are as from `fill_in`.
    """
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


def crop_centre(images: Iterable[np.ndarray]) -> tuple[np.ndarray, tuple[int, int]]:
    """The mouth of a clip that is a face track: a fixed box of each image, (T, 96, 96).

    Returns the height and width of the images, too.
    """
    left, top, right, bottom = CENTRE_BOX
    cropped, height, width = [], 0, 0
    for image in images:
        height, width = image.shape[:2]
        x = slice(int(left * width), int(right * width))
        y = slice(int(top * height), int(bottom * height))
        box = _grey(image)[y, x]
        cropped.append(cv2.resize(box, (crops.SIZE, crops.SIZE), interpolation=cv2.INTER_AREA))
    return np.stack(cropped), (height, width)


def oblong(height: int, width: int) -> str:
    """A note about images that are no face track because they are not square; "" for others."""
    if abs(width - height) <= SQUARE * max(width, height):
        return ""
    return (
        f"its images are {width}x{height}, not square as those of a face track, so the box in their"
        " centre may miss the mouth: use mediapipe or mtcnn"
    )


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image

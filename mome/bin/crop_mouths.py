"""Mouth crops of a data set: python -m mome.bin.crop_mouths data/train dump/mouths/train

Stage 1 of a recipe. Writes OUT_DIR/<speaker>/<utterance>.mp4 (96x96, grey, 25 frames a second),
mouths.scp, and skipped.txt for clips without a face. A clip that is cropped already, from the same
media and by the same landmarks, is not cropped again.
"""

import argparse
import json
import logging
import multiprocessing
from pathlib import Path

from tqdm import tqdm

from mome import ark, stamp
from mome.bin import run

log = logging.getLogger(__name__)

VERSION = 1


def crop(job: tuple) -> tuple[str, str]:
    """(utterance, media, crop file, landmarks) -> (utterance, "" or why there is no crop)."""
    import cv2

    from mome import video

    cv2.setNumThreads(1)
    utterance, media_path, mouth_path, landmarks = job
    try:
        video.write_mouth(mouth_path, video.mouths_of(media_path, landmarks))
        return utterance, ""
    except (ValueError, FileNotFoundError) as error:
        return utterance, str(error)


def main(argv: list[str] | None = None) -> None:
    """Crop every mouth of a set that is not cropped yet."""
    from mome import datadir, video

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("out_dir", type=Path, help="such as dump/mouths/train")
    parser.add_argument("--landmarks", choices=video.BACKENDS, default="mediapipe")
    parser.add_argument("--num_jobs", type=int, default=2, help="processes")
    args = parser.parse_args(argv)
    data = datadir.read(args.data_dir)
    paths = {u: args.out_dir / data.utt2spk[u] / f"{u}.mp4" for u in data.utterances}
    marks = {
        u: f"{stamp.digest(path)} {args.landmarks} {VERSION}" for u, path in data.video.items()
    }
    if stamp.fresh(args.out_dir, marks) and (args.out_dir / "mouths.scp").exists():
        log.info(f"{args.out_dir} is up to date")
        return
    stamp.clear(args.out_dir)
    # What an earlier run got done, a line for each clip: resumable however that run ended.
    done_path = args.out_dir / "done.jsonl"
    done = {}
    if done_path.exists():
        for line in done_path.read_text().splitlines():
            utterance, mark, why = json.loads(line)
            done[utterance] = (mark, why)
    skipped, jobs = {}, []
    for u in data.utterances:
        mark, why = done.get(u, ("", ""))
        if mark == marks[u] and (why or paths[u].exists()):
            skipped.update({u: why} if why else {})
        else:
            jobs.append((u, data.video[u], str(paths[u]), args.landmarks))
    args.out_dir.mkdir(parents=True, exist_ok=True)
    with (
        multiprocessing.get_context("spawn").Pool(args.num_jobs) as pool,
        done_path.open("a") as record,
    ):
        results = pool.imap_unordered(crop, jobs, chunksize=4)
        for utterance, why in tqdm(results, f"mouths {args.out_dir.name}", len(jobs), unit="clip"):
            skipped.update({utterance: why} if why else {})
            record.write(json.dumps([utterance, marks[utterance], why]) + "\n")
            record.flush()
    where = datadir.write_skipped(args.out_dir, skipped)
    datadir.check_skipped(skipped, len(paths), datadir.is_test(args.data_dir), where)
    ark.write_scp(
        args.out_dir / "mouths.scp", {u: str(p) for u, p in paths.items() if u not in skipped}
    )
    stamp.write(args.out_dir, marks)
    log.info(
        f"{args.out_dir}: {len(jobs)} clips cropped, {len(paths) - len(jobs)} were there,"
        f" {len(skipped)} left out"
    )


if __name__ == "__main__":
    run(main)

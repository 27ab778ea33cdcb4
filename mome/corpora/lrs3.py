"""LRS3 (TED): <root>/{pretrain,trainval,test}/<video>/<5 digits>.{mp4,txt}.

LRS3 has no validation set. Ours is held out of trainval by a fixed hash of the video's id, 1,200
clips or a little more (of a part of the corpus, the same share); what pretrain has of these videos
is left out of training, so no speaker is on both sides. Training is pretrain and trainval (433 h)
or trainval alone (30 h). Clips of pretrain that are longer than 16 s are cut between words.
"""

import hashlib
from pathlib import Path

from mome.corpora import Coverage, clips_of_folder
from mome.data.datadir import Clip

SETS = ("train", "valid", "test")
HOURS = (433, 30)  # of training, the first one by default
EXPECTED = {"pretrain": 118_516, "trainval": 31_982, "test": 1_321}  # clips
VALID_SHARE = 1_200 / EXPECTED["trainval"]
MAX_SECONDS = 16.0


def list_sets(root: str | Path, hours: int = 433) -> dict[str, list[Clip]]:
    """The clips of each set, sorted by utterance. FileNotFoundError without a folder of LRS3's."""
    if hours not in HOURS:
        raise ValueError(f"LRS3 is trained on {' or '.join(map(str, HOURS))} h, not {hours}")
    splits = {name: read_split(Path(root), name) for name in splits_of(hours)}
    held_out = validation_videos(splits["trainval"])
    train = [c for name in splits_of(hours)[:-1] for c in splits[name]]
    return {
        "train": sort([c for c in train if c.speaker not in held_out]),
        "valid": sort([c for c in splits["trainval"] if c.speaker in held_out]),
        "test": sort(splits["test"]),
    }


def splits_of(hours: int) -> list[str]:
    return ["pretrain", "trainval", "test"] if hours == HOURS[0] else ["trainval", "test"]


def read_split(root: Path, split: str) -> list[Clip]:
    """The clips of a split, those of pretrain in pieces."""
    if not (root / split).is_dir():
        raise FileNotFoundError(
            f"{root / split} is not a folder: LRS3 has pretrain, trainval and test, and in each a"
            " folder for each video"
        )
    longest = MAX_SECONDS if split == "pretrain" else None
    videos = sorted(path for path in (root / split).iterdir() if path.is_dir())
    return [c for video in videos for c in clips_of_folder(video, video.name, longest)]


def validation_videos(trainval: list[Clip]) -> set[str]:
    """Videos in the order of their hash, until they have the share of clips for validation."""
    clips: dict[str, int] = {}
    for clip in trainval:
        clips[clip.speaker] = clips.get(clip.speaker, 0) + 1
    order = sorted(clips, key=lambda video: hashlib.sha256(video.encode()).hexdigest())
    chosen: set[str] = set()
    for video in order:
        if sum(clips[v] for v in chosen) >= VALID_SHARE * len(trainval):
            break
        chosen.add(video)
    return chosen


def coverage(root: str | Path, hours: int = 433) -> list[Coverage]:
    """How many clips of each split have their media and their text."""
    rows = []
    for split in splits_of(hours):
        names = {(c.speaker, c.media_path) for c in read_split(Path(root), split) if is_whole(c)}
        rows.append(Coverage(split, len(names), EXPECTED[split]))
    return rows


def is_whole(clip: Clip) -> bool:
    return bool(clip.text) and clip.media_path.exists()


def sort(clips: list[Clip]) -> list[Clip]:
    return sorted(clips, key=lambda c: c.utterance.encode())

"""LRS3 (TED): <root>/{pretrain,trainval,test}/<video>/<5 digits>.{mp4,txt}.

LRS3 has no validation set. Ours is a part of trainval: videos in the order of a hash of their id,
until they have 1,200 clips or a little more (in a part of the corpus, the same share). The clips of
these videos in pretrain are left out of training, so no speaker is in two sets. Training uses
pretrain and trainval (433 h), or trainval alone (30 h). Clips of pretrain that are longer than 16 s
are cut between words.
"""

import hashlib
import os
from pathlib import Path

from mome.corpora import Clip, Coverage, choose_hours, count_clips, sort, tree
from mome.corpora.text_file import MAX_SECONDS, clips_of_folder

HOURS: tuple[int, ...] = (433, 30)
SPEAKERS_DISJOINT = True
EXPECTED = {"pretrain": 118_516, "trainval": 31_982, "test": 1_321}  # clips
VALID_SHARE = 1_200 / EXPECTED["trainval"]


def list_sets(root: str | Path, hours: int | None = None) -> dict[str, list[Clip]]:
    """The clips of each set, sorted by utterance. FileNotFoundError when a split has no folder."""
    splits = {name: read_split(Path(root), name) for name in splits_of(hours)}
    held_out = validation_videos(splits["trainval"])
    train = [clip for name, clips in splits.items() if name != "test" for clip in clips]
    return {
        "train": sort(clip for clip in train if clip.speaker not in held_out),
        "valid": sort(clip for clip in splits["trainval"] if clip.speaker in held_out),
        "test": sort(splits["test"]),
    }


def splits_of(hours: int | None) -> list[str]:
    """The splits that are read when training uses so many hours."""
    everything = choose_hours("LRS3", hours, HOURS) == HOURS[0]
    return ["pretrain", "trainval", "test"] if everything else ["trainval", "test"]


def read_split(root: Path, split: str) -> list[Clip]:
    """The clips of a split, those of pretrain in pieces; files beside the folders are ignored."""
    if not os.path.isdir(root / split):
        raise FileNotFoundError(
            f"{root / split} is not a folder: LRS3 has pretrain, trainval and test, and in each a"
            " folder for each video"
        )
    longest = MAX_SECONDS if split == "pretrain" else None
    videos = [root / split / name for name in tree.names_in(root / split)]
    videos = [path for path in videos if not os.path.isfile(path)]
    return [clip for video in videos for clip in clips_of_folder(video, longest)]


def validation_videos(trainval: list[Clip]) -> set[str]:
    """Videos in the order of their hash, until they have the share of clips for validation.

    Videos whose clips all have a fault are not among them.
    """
    clips: dict[str, int] = {}
    for clip in trainval:
        clips[clip.speaker] = clips.get(clip.speaker, 0) + 1
    usable = {clip.speaker for clip in trainval if not clip.fault}
    order = sorted(usable, key=lambda video: hashlib.sha256(video.encode()).hexdigest())
    chosen: set[str] = set()
    for video in order:
        if sum(clips[v] for v in chosen) >= VALID_SHARE * len(trainval):
            break
        chosen.add(video)
    return chosen


def coverage(root: str | Path, hours: int | None = None) -> list[Coverage]:
    """How many clips of each split have their media and their text."""
    splits = splits_of(hours)
    return [count_clips(name, read_split(Path(root), name), EXPECTED[name]) for name in splits]

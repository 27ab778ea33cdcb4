"""LRS2 (BBC): <root>/mvlrs_v1/{main,pretrain}/<19 digits>/<5 digits>.{mp4,txt}.

The sets are lists of `<19 digits>/<5 digits>` in {pretrain,train,val,test}.txt, which lie next to
mvlrs_v1 or in it; the rest of a line is ignored. Training uses pretrain and train (225 h). Clips of
pretrain that are longer than 16 s are cut between words.

The 19 digits identify a broadcast and stand for the speaker, who is not named. The official lists
put some broadcasts into several sets; we follow the lists.
"""

import os
import re
from pathlib import Path

from mome.corpora import Clip, Coverage, choose_hours, count_clips, sort, tree
from mome.corpora.text_file import MAX_SECONDS, faulty_clip, read_clip

LISTS = {"train": ("pretrain", "train"), "valid": ("val",), "test": ("test",)}
EXPECTED = {"pretrain": 96_318, "train": 45_839, "val": 1_082, "test": 1_243}  # clips
HOURS: tuple[int, ...] = (225,)
SPEAKERS_DISJOINT = False
MEDIA = "mvlrs_v1"


def list_sets(root: str | Path, hours: int | None = None) -> dict[str, list[Clip]]:
    """The clips of each set, sorted by utterance. FileNotFoundError for a missing list."""
    choose_hours("LRS2", hours, HOURS)
    media = media_folder(Path(root))
    return {
        name: sort(clip for split in splits for clip in read_split(media, split))
        for name, splits in LISTS.items()
    }


def media_folder(root: Path) -> Path:
    """The folder mvlrs_v1: `root` itself, or the one in it."""
    for folder in (root / MEDIA, root):
        if os.path.isdir(folder / "main"):
            return folder
    raise FileNotFoundError(
        f"{root} has no {MEDIA}/main: give the folder that holds {MEDIA} and the lists"
    )


def read_list(media: Path, split: str) -> list[str]:
    """The names `<broadcast>/<clip>` of a list, each once."""
    for folder in (media.parent, media):
        path = folder / f"{split}.txt"
        if os.path.isfile(path):
            lines = tree.read_text(path, tree.MAX_TABLE).splitlines()
            return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    raise FileNotFoundError(
        f"{split}.txt is neither in {media.parent} nor in {media}: the lists of LRS2 say which"
        f" clips belong to {split}"
    )


def read_split(media: Path, split: str) -> list[Clip]:
    """The clips of a list, those of pretrain in pieces.

    A clip that is on the list but not on the disk is included: stage 0 reports it.
    """
    folder = media / ("pretrain" if split == "pretrain" else "main")
    longest = MAX_SECONDS if split == "pretrain" else None
    return read_listed(folder, read_list(media, split), f"{split}.txt", longest)


def read_listed(
    folder: Path, names: list[str], list_name: str, max_seconds: float | None = None
) -> list[Clip]:
    """The clips `<broadcast>/<clip>` of a list, whose media and texts lie in `folder`."""
    clips: list[Clip] = []
    files: dict[str, tuple[dict[str, list[Path]], dict[str, list[Path]]]] = {}  # of each broadcast
    for name in names:
        broadcast, _, clip = name.partition("/")
        path = folder / broadcast / f"{clip}.mp4"
        if not re.fullmatch(r"[^/]+", clip) or {broadcast, clip} & {"", ".", ".."}:
            fault = f"{list_name} has '{tree.printable(name)}', which is not <broadcast>/<clip>"
            clips.append(
                Clip(f"{list_name}-{tree.make_id(name)}", list_name, path, "", fault=fault)
            )
            continue
        try:
            if broadcast not in files and os.path.lexists(path.parent):
                if fault := tree.fault_of_folder(path.parent):
                    raise ValueError(fault)
                media, texts = (tree.by_stem(path.parent, [s]) for s in (".mp4", ".txt"))
                files[broadcast] = media, texts
        except ValueError as error:
            clips.append(faulty_clip(path, str(error), broadcast))
            continue
        media, texts = files.get(broadcast, ({}, {}))
        clips += read_clip(path.parent, clip, media.get(clip, []), texts.get(clip, []), max_seconds)
    return clips


def coverage(root: str | Path, hours: int | None = None) -> list[Coverage]:
    """How many clips of each list have their media and their text."""
    choose_hours("LRS2", hours, HOURS)
    media = media_folder(Path(root))
    return [count_clips(name, read_split(media, name), num) for name, num in EXPECTED.items()]

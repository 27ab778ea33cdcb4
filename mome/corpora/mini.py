"""The mini corpus: talking heads that `python -m mome.bin.synthesise` makes.

It has the layout of LRS3 or that of LRS2:

    <root>/{pretrain,trainval,test}/<speaker>/<5 digits>.{mp4,txt,phones}
    <root>/mvlrs_v1/{main,pretrain}/<speaker>/<5 digits>.{mp4,txt,phones}, and the lists of
        <speaker>/<clip> in <root>/{pretrain,train,val,test}.txt

Speakers are called `train000`, `valid000`, `test000` and so on after their set. In the layout of
LRS3, which has no validation set, the speakers of validation are in trainval. Sets share neither
speakers nor voices nor sentences.

`.phones` has lines `phone start end`: phones of eSpeak, times in seconds. `.txt` is as in LRS3: the
text and the face track, in pretrain also the times of the words.
"""

import os
from dataclasses import replace
from pathlib import Path

from mome.corpora import Clip, Coverage, choose_hours, lrs2, sort, tree
from mome.corpora.text_file import clips_of_folder

SETS = ("train", "valid", "test")
HOURS: tuple[int, ...] = ()
SPEAKERS_DISJOINT = True
LRS3_FOLDERS = {"train": ("pretrain", "trainval"), "valid": ("trainval",), "test": ("test",)}


def list_sets(root: str | Path, hours: int | None = None) -> dict[str, list[Clip]]:
    """The clips of each set, sorted by utterance. FileNotFoundError for a set without clips."""
    choose_hours("the mini corpus", hours, HOURS)
    return {name: list_clips(root, name) for name in SETS}


def coverage(root: str | Path, hours: int | None = None) -> list[Coverage]:
    """Empty: a mini corpus may have any size."""
    choose_hours("the mini corpus", hours, HOURS)
    return []


def list_clips(root: str | Path, set_name: str) -> list[Clip]:
    """The clips of a set, sorted by utterance, in either layout.

    A clip without a text file has the text "". Raises FileNotFoundError when there are no clips,
    ValueError for a set that is not one of SETS.
    """
    root = Path(root)
    if set_name not in SETS:
        raise ValueError(f"the mini corpus has the sets {', '.join(SETS)}, not '{set_name}'")
    is_lrs2 = os.path.isdir(root / lrs2.MEDIA)
    clips = lrs2_clips(root, set_name) if is_lrs2 else lrs3_clips(root, set_name)
    if not clips:
        raise FileNotFoundError(
            f"{root} has no clips for {set_name}: run stage 0 of egs/mini, or "
            f"python -m mome.bin.synthesise {root}"
        )
    return sort(map(with_phones, clips))


def lrs3_clips(root: Path, set_name: str) -> list[Clip]:
    """The clips of a set in the layout of LRS3."""
    folders = [root / name for name in LRS3_FOLDERS[set_name] if os.path.isdir(root / name)]
    speakers = [
        folder / name
        for folder in folders
        for name in tree.names_in(folder)
        if name.startswith(set_name) and not os.path.isfile(folder / name)
    ]
    return [clip for speaker in speakers for clip in clips_of_folder(speaker)]


def lrs2_clips(root: Path, set_name: str) -> list[Clip]:
    """The clips on the lists of a set, whether they exist or not."""
    clips: list[Clip] = []
    for name in lrs2.LISTS[set_name]:
        list_path = root / f"{name}.txt"
        if not os.path.isfile(list_path):
            raise FileNotFoundError(
                f"{list_path} is missing: the lists say which clips are for {set_name}; run "
                f"python -m mome.bin.synthesise {root} --layout lrs2 again"
            )
        folder = root / lrs2.MEDIA / ("pretrain" if name == "pretrain" else "main")
        lines = tree.read_text(list_path, tree.MAX_TABLE).splitlines()
        names = [line.split()[0] for line in lines if line.strip()]
        clips += lrs2.read_listed(folder, names, list_path.name)
    return clips


def with_phones(clip: Clip) -> Clip:
    """The clip with the times of its phones, when they lie next to it."""
    path = clip.media_path.with_suffix(".phones")
    return replace(clip, phones_path=path) if os.path.isfile(path) else clip

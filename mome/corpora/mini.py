"""The mini corpus: talking heads that `python -m mome.bin.synthesise` makes, as LRS3 or LRS2 lies.

As LRS3:  <root>/{pretrain,trainval,test}/<speaker>/<5 digits>.{mp4,txt,phones}
As LRS2:  <root>/mvlrs_v1/{main,pretrain}/<speaker>/<5 digits>.{mp4,txt,phones} and the lists
          <root>/{pretrain,train,val,test}.txt of <speaker>/<clip>

LRS3 has no validation set; here its speakers are those in trainval whose name begins with `valid`
(the others are `train000`, `train001`, ..., `test000`, ...). Sets share neither speakers nor voices
nor sentences. `.phones` has lines `phone start end`, eSpeak's phones and seconds; `.txt` is LRS3's:
text and face track, in pretrain the times of the words, too.
"""

from pathlib import Path

from mome.corpora import read_text_file
from mome.data.datadir import Clip

SETS = ("train", "valid", "test")
LRS3_FOLDERS = {"train": ("pretrain", "trainval"), "valid": ("trainval",), "test": ("test",)}
LRS2_LISTS = {"train": ("pretrain", "train"), "valid": ("val",), "test": ("test",)}
LRS2_MEDIA = "mvlrs_v1"


def list_clips(root: str | Path, set: str) -> list[Clip]:
    """The clips of a set, sorted by utterance, whichever way the corpus lies.

    A clip without a text file has the text "". FileNotFoundError when there are no clips at all,
    ValueError for a set that is not one of SETS.
    """
    root = Path(root)
    if set not in SETS:
        raise ValueError(f"the mini corpus has the sets {', '.join(SETS)}, not '{set}'")
    paths = lrs2_media(root, set) if (root / LRS2_MEDIA).is_dir() else lrs3_media(root, set)
    if not paths:
        raise FileNotFoundError(
            f"{root} has no clips for {set}: run stage 0 of egs/mini, or "
            f"python -m mome.bin.synthesise {root}"
        )
    return sorted((clip_at(path) for path in paths), key=lambda c: c.utterance.encode())


def lrs3_media(root: Path, set: str) -> list[Path]:
    folders = LRS3_FOLDERS[set]
    return [path for folder in folders for path in root.glob(f"{folder}/{set}*/*.mp4")]


def lrs2_media(root: Path, set: str) -> list[Path]:
    """Media of the lists of a set; a clip that is listed and not there is still given."""
    paths = []
    for name in LRS2_LISTS[set]:
        list_path = root / f"{name}.txt"
        if not list_path.exists():
            raise FileNotFoundError(
                f"{list_path} is missing: the lists say which clips are for {set}; run "
                f"python -m mome.bin.synthesise {root} --layout lrs2 again"
            )
        folder = root / LRS2_MEDIA / ("pretrain" if name == "pretrain" else "main")
        lines = list_path.read_text().split("\n")
        paths += [folder / f"{line.split()[0]}.mp4" for line in lines if line.strip()]
    return paths


def clip_at(media_path: Path) -> Clip:
    speaker = media_path.parent.name
    text_path, phones_path = media_path.with_suffix(".txt"), media_path.with_suffix(".phones")
    return Clip(
        utterance=f"{speaker}-{media_path.stem}",
        speaker=speaker,
        media_path=media_path,
        text=read_text_file(text_path).text if text_path.exists() else "",
        phones_path=phones_path if phones_path.exists() else None,
    )

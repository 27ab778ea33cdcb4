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

from pathlib import Path

from mome.corpora import Clip, Coverage, choose_hours, sort
from mome.corpora.text_file import read_text_file

SETS = ("train", "valid", "test")
HOURS: tuple[int, ...] = ()
SPEAKERS_DISJOINT = True
LRS3_FOLDERS = {"train": ("pretrain", "trainval"), "valid": ("trainval",), "test": ("test",)}
LRS2_LISTS = {"train": ("pretrain", "train"), "valid": ("val",), "test": ("test",)}
LRS2_MEDIA = "mvlrs_v1"


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
    is_lrs2 = (root / LRS2_MEDIA).is_dir()
    paths = lrs2_media(root, set_name) if is_lrs2 else lrs3_media(root, set_name)
    if not paths:
        raise FileNotFoundError(
            f"{root} has no clips for {set_name}: run stage 0 of egs/mini, or "
            f"python -m mome.bin.synthesise {root}"
        )
    return sort(map(read_clip, paths))


def lrs3_media(root: Path, set_name: str) -> list[Path]:
    """The media of a set in the layout of LRS3."""
    folders = LRS3_FOLDERS[set_name]
    return [path for folder in folders for path in root.glob(f"{folder}/{set_name}*/*.mp4")]


def lrs2_media(root: Path, set_name: str) -> list[Path]:
    """The media on the lists of a set, whether they exist or not."""
    paths = []
    for name in LRS2_LISTS[set_name]:
        list_path = root / f"{name}.txt"
        if not list_path.exists():
            raise FileNotFoundError(
                f"{list_path} is missing: the lists say which clips are for {set_name}; run "
                f"python -m mome.bin.synthesise {root} --layout lrs2 again"
            )
        folder = root / LRS2_MEDIA / ("pretrain" if name == "pretrain" else "main")
        lines = list_path.read_text().split("\n")
        paths += [folder / f"{line.split()[0]}.mp4" for line in lines if line.strip()]
    return paths


def read_clip(media_path: Path) -> Clip:
    """The clip of a media file, with what lies next to the file."""
    speaker = media_path.parent.name
    text_path, phones_path = media_path.with_suffix(".txt"), media_path.with_suffix(".phones")
    return Clip(
        utterance=f"{speaker}-{media_path.stem}",
        speaker=speaker,
        media_path=media_path,
        text=read_text_file(text_path).text if text_path.exists() else "",
        phones_path=phones_path if phones_path.exists() else None,
    )

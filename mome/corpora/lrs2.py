"""LRS2 (BBC): <root>/mvlrs_v1/{main,pretrain}/<19 digits>/<5 digits>.{mp4,txt}.

The sets are lists of `<19 digits>/<5 digits>`, {pretrain,train,val,test}.txt, beside mvlrs_v1 or in
it; whatever follows on a line is passed by. Training is pretrain and train (225 h). Clips of
pretrain that are longer than 16 s are cut between words. The 19 digits are a broadcast, the nearest
to a speaker that there is; the lists have some of them in several sets, and are followed.
"""

from pathlib import Path

from mome.corpora import Coverage, clips_at
from mome.data.datadir import Clip

SETS = ("train", "valid", "test")
LISTS = {"train": ("pretrain", "train"), "valid": ("val",), "test": ("test",)}
EXPECTED = {"pretrain": 96_318, "train": 45_839, "val": 1_082, "test": 1_243}  # clips
HOURS = (225,)
MAX_SECONDS = 16.0
MEDIA = "mvlrs_v1"


def list_sets(root: str | Path, hours: int = 225) -> dict[str, list[Clip]]:
    """The clips of each set, sorted by utterance. FileNotFoundError for a missing list."""
    if hours not in HOURS:
        raise ValueError(f"LRS2 is trained on 225 h, not {hours}")
    media = media_folder(Path(root))
    sets = {
        name: [c for split in splits for c in read_split(media, split)]
        for name, splits in LISTS.items()
    }
    return {k: sorted(v, key=lambda c: c.utterance.encode()) for k, v in sets.items()}


def media_folder(root: Path) -> Path:
    """mvlrs_v1, whether `root` is it or holds it."""
    for folder in (root / MEDIA, root):
        if (folder / "main").is_dir():
            return folder
    raise FileNotFoundError(
        f"{root} has no {MEDIA}/main: give the folder that holds {MEDIA} and the lists"
    )


def read_list(media: Path, split: str) -> list[str]:
    """The names `<broadcast>/<clip>` of a list, each once."""
    for folder in (media.parent, media):
        path = folder / f"{split}.txt"
        if path.is_file():
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    raise FileNotFoundError(
        f"{split}.txt is neither in {media.parent} nor in {media}: the lists of LRS2 say which"
        f" clips belong to {split}"
    )


def read_split(media: Path, split: str) -> list[Clip]:
    """The clips of a list, those of pretrain in pieces; one that is not there is told when read."""
    folder = media / ("pretrain" if split == "pretrain" else "main")
    longest = MAX_SECONDS if split == "pretrain" else None
    clips = []
    there: dict[Path, dict[str, Path]] = {}
    for name in read_list(media, split):
        path = folder / name
        if path.parent not in there:
            files = path.parent.iterdir() if path.parent.is_dir() else []
            there[path.parent] = {f.name.lower(): f for f in files}
        files = there[path.parent]
        media_path = files.get(f"{path.name}.mp4", path.with_name(f"{path.name}.mp4"))
        text_path = files.get(f"{path.name}.txt")
        clips += clips_at(media_path, text_path, path.parent.name, longest)
    return clips


def coverage(root: str | Path, hours: int = 225) -> list[Coverage]:
    """How many clips of each list have their media and their text."""
    rows = []
    for split, expected in EXPECTED.items():
        clips = read_split(media_folder(Path(root)), split)
        found = {c.media_path for c in clips if c.text and c.media_path.exists()}
        rows.append(Coverage(split, len(found), expected))
    return rows

"""A corpus of your own: a folder of media and transcripts.

    <root>/<speaker>/.../<clip>.mp4                   any container with video; <clip>.txt beside it
    <root>/{train,valid,test}/<speaker>/.../<clip>.mp4      the same, with the sets as you want them
    <root>/<name>.csv (or .tsv)       a table: path, and if you like, text, speaker, split

A transcript is plain text, or a file like those of LRS3. A table has a line for each clip; a path
is relative to the folder of the table or absolute. Without a column `text`, the text lies beside
the media; without `speaker`, it is the first folder of the path; `split` is train, valid or test.

Sets that are not given are drawn by speaker: speakers in the order of a hash of their name, until
they have a tenth of the clips, first for the test set, then for validation. The same folder gives
the same sets on every machine.

An utterance id is `<speaker>-<folders and clip>`; white space and slashes in names become `_`.
"""

import csv
import hashlib
import io
import logging
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from mome.corpora import Clip, Coverage, choose_hours, sort, tree
from mome.corpora.text_file import normalise, read_text_file

HOURS: tuple[int, ...] = ()
SPEAKERS_DISJOINT = False  # those of sets that are drawn are; sets that are given may share some
SETS = {
    "train": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}
MEDIA = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".mpg", ".mpeg", ".m4v", ".flv", ".wmv", ".ts",
         ".mts", ".m2ts", ".3gp", ".ogv")  # fmt: skip
DRAWN_SHARE = 0.1  # of the clips, for each set that is not given
Found = tuple[str, Clip]  # a clip and its set; "" when it has none yet
log = logging.getLogger(__name__)


def list_sets(root: str | Path, hours: int | None = None) -> dict[str, list[Clip]]:
    """The clips of each set, sorted by utterance.

    Raises FileNotFoundError for a folder without clips, ValueError for a table that cannot be read
    and for too few speakers to draw sets from.
    """
    choose_hours("a folder", hours, HOURS)
    root = Path(root)
    table = find_table(root)
    found = list(read_table(table) if table else read_folders(root))
    if not any(is_usable(clip) for _, clip in found):
        first = next((f" (the first: {clip.fault or 'no text'})" for _, clip in found), "")
        raise FileNotFoundError(
            f"{root} has no clip that can be used{first}: give a folder with media files"
            f" ({', '.join(MEDIA[:5])}, ...) and a .txt beside each, or with a table of them"
        )
    sets = draw_sets(unique(root, found))
    return {name: sort(clips) for name, clips in sets.items()}


def coverage(root: str | Path, hours: int | None = None) -> list[Coverage]:
    """Empty: a folder may have any size."""
    choose_hours("a folder", hours, HOURS)
    return []


def is_usable(clip: Clip) -> bool:
    """Whether nothing speaks against the clip yet."""
    return bool(clip.text) and not clip.fault


# ---- media and transcripts in folders -----------------------------------------------------------


def read_folders(root: Path) -> Iterator[Found]:
    """The clips of all speakers; the set is "" unless folders are called train, valid and test."""
    names = tree.names_in(root)
    given = {n: SETS[n.lower()] for n in names if n.lower() in SETS and os.path.isdir(root / n)}
    if "train" not in given.values():
        yield from ((("", clip)) for clip in read_speakers(root))
        return
    for name in names:
        if name in given:
            yield from ((given[name], clip) for clip in read_speakers(root / name))
        elif not os.path.isfile(root / name):
            yield "", faulty(root, root / name, f"{name} lies beside train and belongs to no set")


def read_speakers(folder: Path) -> Iterator[Clip]:
    """The clips of all speakers in a folder; of media in the folder itself, it is the speaker."""
    yield from read_clips(folder, folder, clean(folder.name))
    for name in tree.names_in(folder):
        if os.path.isdir(folder / name):
            yield from walk(folder / name, folder / name, (identity(folder),))


def walk(folder: Path, top: Path, above: tuple = ()) -> Iterator[Clip]:
    """The clips in the folder of a speaker and below it.

    Links to folders are followed, but not to one that the way leads through already.
    """
    here = identity(folder)
    if here in above:
        fault = f"{tree.printable(folder)} is a symbolic link to a folder above it"
        yield faulty(top.parent, folder, fault)
        return
    try:
        names = tree.names_in(folder)
        if fault := fault_of_name(folder.name):
            raise ValueError(f"{tree.printable(folder)}: {fault}")
    except ValueError as error:
        yield faulty(top.parent, folder, str(error))
        return
    yield from read_clips(folder, top, clean(top.name))
    for name in names:
        if os.path.isdir(folder / name):
            yield from walk(folder / name, top, (*above, here))


def identity(folder: Path) -> tuple[int, int]:
    """The same for a folder and all links to it."""
    info = os.stat(folder)
    return info.st_dev, info.st_ino


def read_clips(folder: Path, top: Path, speaker: str) -> Iterator[Clip]:
    """The clips that lie in a folder itself, not below it.

    Transcripts without media are clips with a fault where there are media at all; elsewhere they
    are no transcripts. Other entries are ignored unless they are neither files nor folders.
    """
    media, texts = tree.by_stem(folder, MEDIA), tree.by_stem(folder, [".txt"])
    where = "-".join(clean(part) for part in folder.relative_to(top).parts)
    for stem in sorted(media.keys() | (texts.keys() if media else set()), key=os.fsencode):
        path, fault = tree.only_one(media.get(stem, []))
        text_path, more = tree.only_one(texts.get(stem, []))
        if path is None:
            assert text_path is not None
            path, fault = text_path, f"{tree.printable(text_path)} has no media file beside it"
        elif name_fault := fault_of_name(stem):
            fault = f"{tree.printable(path)}: {name_fault}"
        fault = fault or more or tree.fault_of_file(path)
        name = "-".join(filter(None, (speaker, where, clean(stem))))
        yield with_text(Clip(name, speaker, path, "", fault=fault), text_path, top.parent)
    known = {*MEDIA, ".txt"}
    for name in tree.names_in(folder):
        path = folder / name
        if path.suffix.lower() not in known and not (os.path.isfile(path) or os.path.isdir(path)):
            yield faulty(top.parent, path, tree.fault_of_file(path))


def with_text(clip: Clip, text_path: Path | None, root: Path) -> Clip:
    """The clip with the words of its transcript, or with what is wrong with it."""
    if clip.fault:
        return faulty(root, clip.media_path, clip.fault, clip.speaker)
    if text_path is None:
        return clip
    try:
        text = tree.read_text(text_path)
        words = read_text_file(text_path).text if re.match(r"\s*Text:", text) else normalise(text)
    except ValueError as error:
        return faulty(root, clip.media_path, str(error), clip.speaker)
    return Clip(clip.utterance, clip.speaker, clip.media_path, words)


# ---- a table ------------------------------------------------------------------------------------


def find_table(root: Path) -> Path | None:
    """The table in a folder, None without one. Raises ValueError for several."""
    names = [n for n in tree.names_in(root) if Path(n).suffix.lower() in (".csv", ".tsv")]
    if len(names) > 1:
        raise ValueError(
            f"{root} has {len(names)} tables, {', '.join(map(tree.printable, names))}: leave the"
            " one that lists the clips"
        )
    return root / names[0] if names else None


def read_table(table: Path) -> Iterator[Found]:
    """The clips of a table. Raises ValueError, with the line, when it is malformed."""
    text = tree.read_text(table, tree.MAX_TABLE)
    if table.suffix.lower() == ".tsv":
        lines = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip().lower() for name in next(lines, [])]
        if "path" not in columns:
            raise ValueError(
                f"{table} has the columns {', '.join(columns) or '(none)'}: it needs path, and may"
                " have text, speaker and split"
            )
        for fields in lines:
            if any(field.strip() for field in fields):
                yield read_row(table, lines.line_num, columns, fields)
    except csv.Error as error:
        raise ValueError(
            f"{table}, line {lines.line_num} is not CSV: {error}; look at its quotes"
        ) from None


def read_row(table: Path, number: int, columns: list[str], fields: list[str]) -> Found:
    """The clip of a line, and its set; what is wrong with the line is the clip's fault."""
    row = dict(zip(columns, map(str.strip, fields), strict=False))
    path = table.parent / row.get("path", "")
    inside = Path(row.get("path", ""))
    parts = (*inside.parent.parts, inside.stem)
    if inside.is_absolute() or ".." in parts:
        parts = (path.parent.name, path.stem)
    speaker = clean(row.get("speaker", "") or (parts[0] if len(parts) > 1 else table.parent.name))
    if len(parts) > 1 and clean(parts[0]) == speaker:
        parts = parts[1:]
    split = row.get("split", "")
    where = f"{tree.printable(table)}, line {number}"
    fault = ""
    if len(fields) != len(columns):
        fault = f"{where} has {len(fields)} fields, but the first line {len(columns)}"
    elif not row["path"]:
        fault = f"{where} has no path"
    elif "split" in columns and split.lower() not in SETS:
        fault = f"{where} has the split '{split}': give train, valid or test"
    elif name_fault := next(filter(None, map(fault_of_name, (speaker, *parts))), ""):
        fault = f"{where}: {tree.printable(path)}: {name_fault}"
    fault = fault or tree.fault_of_file(path)
    set_name = SETS.get(split.lower(), "")
    clip = Clip("-".join((speaker, *map(clean, parts))), speaker, path, "", fault=fault)
    if fault or not row.get("text"):
        beside = path.with_suffix(".txt") if row.get("path") else path
        clip = with_text(clip, beside if os.path.lexists(beside) else None, table.parent)
        return set_name, clip
    return set_name, Clip(clip.utterance, speaker, path, normalise(row["text"]))


# ---- names and sets -----------------------------------------------------------------------------


def clean(name: str) -> str:
    """A name as part of an utterance id: `my clip` is `my_clip`."""
    return re.sub(r"[\s/]+", "_", name.strip()) or "_"


def fault_of_name(name: str) -> str:
    """Why a name cannot be part of an id, even with `_` for a space; "" when it can."""
    if fault := tree.fault_of_name(clean(name)):
        return fault
    if any(not c.isprintable() and unicodedata.category(c) != "Zs" for c in name):
        return "its name holds a line break or a control character; rename it"
    return ""


def faulty(root: Path, path: Path, fault: str, speaker: str = "") -> Clip:
    """A clip, or a whole folder, that cannot be used; its id is its path below the root."""
    parts = path.relative_to(root).parts if path.is_relative_to(root) else path.parts[-2:]
    name = "/".join(parts)
    speaker = tree.make_id(speaker or clean(parts[0] if parts else root.name))
    return Clip(tree.make_id(name), speaker, path, "", fault=fault)


def unique(root: Path, found: list[Found]) -> list[Found]:
    """The clips, those with the id of an earlier one as clips with a fault."""
    kept: list[Found] = []
    first: dict[str, Path] = {}
    for set_name, clip in found:
        other = first.get(clip.utterance)
        if other is None or clip.fault:
            first.setdefault(clip.utterance, clip.media_path)
        else:
            fault = f"{clip.media_path} has the same id, {clip.utterance}, as {other}; rename one"
            clip = faulty(root, clip.media_path, fault, clip.speaker)
        kept.append((set_name, clip))
    return kept


def draw_sets(found: list[Found]) -> dict[str, list[Clip]]:
    """Train, valid and test; those that are not given are drawn from the rest by speaker.

    A speaker without a usable clip stays in train. Raises ValueError for too few speakers.
    """
    sets: dict[str, list[Clip]] = {"train": [], "valid": [], "test": []}
    for set_name, clip in found:
        sets[set_name or "train"].append(clip)
    missing = [name for name in ("test", "valid") if not any(map(is_usable, sets[name]))]
    pool = [clip for clip in sets["train"] if is_usable(clip)]
    speakers = sorted(
        {clip.speaker for clip in pool}, key=lambda s: hashlib.sha256(s.encode()).digest()
    )
    if len(speakers) <= len(missing):
        raise ValueError(
            f"{' and '.join(missing) or 'train'} must be drawn by speaker, but there are"
            f" {len(speakers)} speakers to draw from: put the clips of each speaker into a folder,"
            " or say which are for train, valid and test (folders of these names, or a column"
            " split)"
        )
    for k, name in enumerate(missing):
        drawn: list[str] = []
        wanted = DRAWN_SHARE * len(pool)
        while not drawn or (
            sum(clip.speaker in drawn for clip in pool) < wanted
            and len(speakers) > len(missing) - k  # each set, train included, gets one
        ):
            drawn.append(speakers.pop(0))
        sets[name] += [clip for clip in sets["train"] if clip.speaker in drawn]
        sets["train"] = [clip for clip in sets["train"] if clip.speaker not in drawn]
        shown = ", ".join(drawn[:8]) + (", ..." if len(drawn) > 8 else "")
        log.info(f"{name} is drawn by speaker: {len(sets[name])} clips of {len(drawn)}, {shown}")
    return sets

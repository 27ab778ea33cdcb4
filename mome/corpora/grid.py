"""GRID: 34 people who say 1,000 sentences of six words each; 33 were filmed. CC BY 4.0.

    <root>/s<1 to 34>/<sentence>.mpg          360x288, 25 frames a second, 3 s; none of s21
    <root>/alignments/s<1 to 34>/<sentence>.align       lines `start end word`

The name of a file is its sentence: `bbaf2n` is "bin blue at f two now". The text is taken from it,
since many folders of alignments carry the number of another speaker in the public copy: the folder
of a speaker is the one that has nine in ten of the names of the clips.

The sets are those of LipNet (arXiv 1611.01599) for unseen speakers: 1, 2, 20 and 22 are for tests.
LipNet has no validation set; ours is speakers 3 and 4. `grid_overlapped.py` has LipNet's other
division. Training uses all clips of the other 27 speakers (22 h), or 222 of each (5 h).
"""

import hashlib
import logging
import os
import re
from collections import Counter
from pathlib import Path

from mome.corpora import Clip, Coverage, choose_hours, sort, tree
from mome.corpora.text_file import Word, faulty_clip

HOURS: tuple[int, ...] = (22, 5)
SPEAKERS_DISJOINT = True
SPEAKERS = [f"s{k}" for k in range(1, 35) if k != 21]
TEST_SPEAKERS = {"s1", "s2", "s20", "s22"}
VALID_SPEAKERS = {"s3", "s4"}
CLIP_SECONDS = 3
MEDIA = (".mpg", ".mpeg", ".mp4", ".avi")
DIGITS = "one two three four five six seven eight nine zero".split()  # noqa: SIM905
WORDS = [  # what a letter stands for, at each place of a name
    {word[0]: word for word in ("bin", "lay", "place", "set")},
    {word[0]: word for word in ("blue", "green", "red", "white")},
    {word[0]: word for word in ("at", "by", "in", "with")},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    dict(zip("123456789z", DIGITS, strict=True)),
    {word[0]: word for word in ("again", "now", "please", "soon")},
]
log = logging.getLogger(__name__)


def list_sets(root: str | Path, hours: int | None = None) -> dict[str, list[Clip]]:
    """The clips of each set, sorted by utterance. FileNotFoundError when no speaker is there."""
    hours = choose_hours("GRID", hours, HOURS)
    clips = read_clips(Path(root))
    held_out = TEST_SPEAKERS | VALID_SPEAKERS
    train = [clip for clip in clips if clip.speaker not in held_out]
    return {
        "train": sort(train if hours == HOURS[0] else limited(train, hours or 0)),
        "valid": sort(clip for clip in clips if clip.speaker in VALID_SPEAKERS),
        "test": sort(clip for clip in clips if clip.speaker in TEST_SPEAKERS),
    }


def coverage(root: str | Path, hours: int | None = None) -> list[Coverage]:
    """How many of the filmed speakers have clips; some clips are missing in every copy."""
    choose_hours("GRID", hours, HOURS)
    return [Coverage("GRID", len(speakers_at(Path(root))), len(SPEAKERS), "speakers")]


def words_of(name: str) -> str:
    """The sentence of a name: `bbaf2n` -> "bin blue at f two now". ValueError for other names."""
    letters = name.lower()
    if len(letters) != len(WORDS) or any(x not in w for x, w in zip(letters, WORDS, strict=False)):
        raise ValueError(f"'{tree.printable(name)}' is not the name of a sentence, such as bbaf2n")
    return " ".join(words[letter] for letter, words in zip(letters, WORDS, strict=True))


def speakers_at(root: Path) -> list[str]:
    """The speakers that have a folder. Raises FileNotFoundError when there are none."""
    found = [speaker for speaker in SPEAKERS if os.path.lexists(root / speaker)]
    if not found:
        raise FileNotFoundError(
            f"{root} has no folder s1, s2, ... s34: give the folder in which the speakers of GRID"
            " lie, each with its .mpg files"
        )
    return found


def read_clips(root: Path) -> list[Clip]:
    """The clips of all speakers. The log says how many alignments have the words of the name."""
    clips = [clip for name in speakers_at(root) for clip in read_speaker(root / name)]
    check_alignments(root, clips)
    return clips


def read_speaker(folder: Path) -> list[Clip]:
    """The clips of a speaker; those that cannot be used have a fault."""
    try:
        if fault := tree.fault_of_folder(folder):
            raise ValueError(fault)
        media = tree.by_stem(folder, MEDIA)
    except ValueError as error:
        return [faulty_clip(folder, str(error))]
    clips = []
    for stem, paths in media.items():
        path, fault = tree.only_one(paths)
        assert path is not None
        try:
            text = words_of(stem)
            fault = fault or tree.fault_of_file(path)
        except ValueError as error:
            fault = f"{tree.printable(path)}: {error}"
        if fault:
            clips.append(faulty_clip(path, fault, folder.name))
        else:
            clips.append(Clip(f"{folder.name}-{stem.lower()}", folder.name, path, text))
    return clips


def in_hash_order(clips: list[Clip]) -> list[Clip]:
    """The clips in an order that is random and the same everywhere."""
    return sorted(clips, key=lambda clip: hashlib.sha256(clip.utterance.encode()).digest())


def limited(clips: list[Clip], hours: int) -> list[Clip]:
    """About so many hours: as many clips of each speaker, the first ones in the order of a hash."""
    speakers = {clip.speaker for clip in clips}
    most = hours * 3600 // CLIP_SECONDS // max(len(speakers), 1)
    taken: Counter[str] = Counter()
    kept = []
    for clip in in_hash_order(clips):
        taken[clip.speaker] += 1
        if taken[clip.speaker] <= most:
            kept.append(clip)
    return kept


# ---- alignments ---------------------------------------------------------------------------------


def read_alignment(path: Path, seconds: float = CLIP_SECONDS) -> list[Word]:
    """The words of an alignment, their times in seconds, without silence.

    Times are in thousandths of a second, or, in most copies, of a frame; the length of the clip
    tells which. Raises ValueError that names the file and the line at fault.
    """
    rows = []
    for number, line in enumerate(tree.read_text(path).splitlines(), 1):
        fields = line.split()
        if fields and not (len(fields) == 3 and re.fullmatch(r"\d+ \d+", " ".join(fields[:2]))):
            raise ValueError(f"{path}, line {number}: '{line}' is not `start end word`")
        rows += [(fields[2].lower(), int(fields[0]), int(fields[1]))] if fields else []
    last = max((end for _, _, end in rows), default=0)
    unit = 1 / 25_000 if last > 1.5 * 1000 * seconds else 1 / 1000
    return [
        Word(word, start * unit, end * unit)
        for word, start, end in rows
        if word not in ("sil", "sp")
    ]


def alignment_folders(root: Path, clips: list[Clip]) -> dict[str, Path]:
    """The folder of alignments of each speaker: the one that has most of the clips' names."""
    top = root / "alignments"
    if not os.path.isdir(top):
        return {}
    names: dict[str, set[str]] = {}
    for folder in tree.names_in(top):
        if os.path.isdir(top / folder):
            names[folder] = {stem.lower() for stem in tree.by_stem(top / folder, [".align"])}
    found = {}
    for speaker in sorted({clip.speaker for clip in clips}):
        wanted = {clip.media_path.stem.lower() for clip in clips if clip.speaker == speaker}
        count = {folder: len(wanted & have) for folder, have in names.items()}
        best = max(count, key=lambda folder: (count[folder], folder == speaker), default="")
        if best and count[best] > 0.9 * len(wanted):
            found[speaker] = top / best
    return found


def alignment_of(clip: Clip, folders: dict[str, Path]) -> Path | None:
    """The alignment of a clip; None when there is none."""
    if clip.speaker not in folders:
        return None
    path = folders[clip.speaker] / f"{clip.media_path.stem}.align"
    return path if os.path.isfile(path) else None


def check_alignments(root: Path, clips: list[Clip]) -> None:
    """Log how many clips have an alignment, and whose words differ from their name."""
    try:
        folders = alignment_folders(root, clips)
    except ValueError as error:
        log.info(f"alignments are not read: {error}")
        return
    num, others = 0, []
    for clip in (clip for clip in clips if not clip.fault):
        if path := alignment_of(clip, folders):
            num += 1
            try:
                same = " ".join(word.word for word in read_alignment(path)) == clip.text
            except ValueError:
                same = False
            others += [] if same else [clip.utterance]
    exchanged = sum(folder.name != speaker for speaker, folder in folders.items())
    log.info(
        f"alignments: of {num} of {len(clips)} clips; {exchanged} speakers have them in the folder"
        f" of another; {len(others)} have other words than the name, which counts"
        + (f" (such as {others[0]})" if others else "")
    )

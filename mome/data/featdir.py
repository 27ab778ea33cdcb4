"""Feature directories `dump/feats/<set>/`, as stage 2 writes them: their tables, read and checked.

What is in the files: mome/data/extraction.py. The matrices are checked when they are read
(`Archives` of features.py), since there may be terabytes of them.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mome import files
from mome.data import AUDIO_FPS, VIDEO_FPS, tables

COUNTS = {"audio": "utt2num_frames", "video": "utt2num_video_frames"}
MOST_FRAMES = 10**7  # of an utterance
APART = 3  # video frames that the lengths of audio and video may differ by, rounding included
REMEDY = "run stage 2 of the recipe again"


@dataclass
class FeatDir:
    """The tables of a feature directory, each by utterance.

    Attributes:
        dir: the folder.
        text: the transcripts.
        scps: of each stream, where its frames are: `ark path:byte offset`.
        noisy: the same for each noisy copy of the audio.
        num_frames: of each stream; a second has 50 of audio and 25 of video.
        info: the content of feats.json.
    """

    dir: Path
    text: dict[str, str]
    scps: dict[str, dict[str, str]] = field(default_factory=dict)
    noisy: list[dict[str, str]] = field(default_factory=list)
    num_frames: dict[str, dict[str, int]] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def store_rate(self) -> int:
        """Audio frames that were averaged into one on disk."""
        return self.info.get("store_rate", 1)


def find_set(sets_dir: Path, name: str) -> Path:
    """The directory of a set; FileNotFoundError, which names the sets there are, if it is none."""
    if not (sets_dir / name / "text").exists():
        found = sorted(path.parent.name for path in sets_dir.glob("*/text"))
        raise FileNotFoundError(
            f"{sets_dir} has no set {name}; it has {', '.join(found) or 'none'}: run the stages of"
            " the recipe before this one"
        )
    return sets_dir / name


def read(feats_dir: str | Path, streams: list[str]) -> FeatDir:
    """Read the tables of a feature directory, those of `streams`, and check them as a whole.

    Raises FileNotFoundError or ValueError, in one line, for a table that is missing or malformed,
    tables with different utterances, counts that are none or do not fit, entries that two
    utterances share, and archives or noisy copies that are gone.
    """
    feats_dir = Path(feats_dir)
    if not feats_dir.is_dir():
        raise FileNotFoundError(
            f"{feats_dir} is missing: run stage 2 of the recipe to extract features"
        )
    found = FeatDir(feats_dir, tables.read(feats_dir / "text"), info=read_info(feats_dir))
    names = [f"{stream}.scp" for stream in streams]
    if "audio" in streams:
        names += [path.name for path in noisy_copies(found)]
    indices = {name: tables.read(feats_dir / name) for name in names}
    counts = {s: tables.read(feats_dir / COUNTS[s]) for s in streams}
    faults: list[str] = []
    for name, table in [*indices.items(), *((COUNTS[s], t) for s, t in counts.items())]:
        faults += tables.key_faults(name, table, "text", found.text)
    faults += _entry_faults(indices)
    for stream, table in counts.items():
        faults += _count_faults(COUNTS[stream], table)
    tables.check(feats_dir, "feature directory", faults, REMEDY)
    found.scps = {stream: indices.pop(f"{stream}.scp") for stream in streams}
    found.noisy = list(indices.values())
    found.num_frames = {s: {u: int(n) for u, n in t.items()} for s, t in counts.items()}
    tables.check(feats_dir, "feature directory", _length_faults(found.num_frames), REMEDY)
    return found


def read_info(feats_dir: Path) -> dict[str, Any]:
    """The content of feats.json; FileNotFoundError, or ValueError when it is of another form."""
    path = feats_dir / "feats.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {REMEDY}")
    try:
        info = files.read_json_object(path)
    except ValueError as error:
        raise ValueError(f"{error}: {REMEDY}") from None
    whole = {"store_rate": 1, "audio_dim": 1, "video_dim": 1, "num_noisy_copies": 0}
    for name, least in whole.items():
        value = info.get(name, least)
        if type(value) is not int or not least <= value <= 10**5:
            raise ValueError(f"{path}: {name} must be {least} or more, got {value!r}: {REMEDY}")
    return info


def noisy_copies(found: FeatDir) -> list[Path]:
    """The indices of the noisy copies of the audio: as many as feats.json says, if it does."""
    present = sorted(found.dir.glob("audio_noisy*.scp"))
    number = found.info.get("num_noisy_copies", len(present))
    return [found.dir / f"audio_noisy{n + 1}.scp" for n in range(number)]


def _entry_faults(indices: dict[str, dict[str, str]]) -> list[str]:
    """Entries that are none, that two utterances share, or that point behind an archive's end."""
    faults: list[str] = []
    sizes: dict[str, int] = {}
    seen: dict[str, str] = {}
    for name, table in indices.items():
        for utterance, entry in table.items():
            ark_path, _, offset = entry.rpartition(":")
            if ark_path not in sizes:
                sizes[ark_path] = os.path.getsize(ark_path) if os.path.isfile(ark_path) else -1
            fault = ""
            if not offset.isdecimal():
                fault = f"'{entry}' is not of the form 'ark path:byte offset'"
            elif sizes[ark_path] < 0:
                fault = f"{ark_path} does not exist"
            elif int(offset) >= sizes[ark_path]:
                fault = f"{ark_path} ends at byte {sizes[ark_path]}, before {offset}"
            elif entry in seen:
                fault = f"{entry} is the entry of {seen[entry]} too"
            seen[entry] = utterance
            if fault:
                line = tables.line_of(table, utterance)
                faults.append(f"{name}, line {line}: {utterance}: {fault}")
                if len(faults) > 100:  # each takes a search for its line
                    return faults
    return faults


def _count_faults(name: str, counts: dict[str, str]) -> list[str]:
    """Numbers of frames that are none."""
    wrong = [u for u, n in counts.items() if not (n.isdecimal() and 0 < int(n) <= MOST_FRAMES)]
    return [
        f"{name}, line {tables.line_of(counts, u)}: {u} has {counts[u]} frames" for u in wrong[:100]
    ]


def _length_faults(num_frames: dict[str, dict[str, int]]) -> list[str]:
    """Utterances whose audio is much longer or shorter than their video."""
    if len(num_frames) < 2:
        return []
    ratio, video = AUDIO_FPS // VIDEO_FPS, num_frames["video"]
    wrong = [u for u, n in num_frames["audio"].items() if abs(n - ratio * video[u]) > ratio * APART]
    return [
        f"{COUNTS['audio']}, line {tables.line_of(video, u)}: {u} has {num_frames['audio'][u]}"
        f" frames of 20 ms, but {video[u]} of 40 ms in {COUNTS['video']}"
        for u in wrong[:100]
    ]

"""Kaldi data directories: read, write and check them; list the clips that were left out.

A data directory `data/<set>/` holds one table per file. Tables are keyed by utterance id and sorted
as bytes (`LC_ALL=C`). An utterance id is `<speaker>-<clip>`, so sorting by utterance also sorts by
speaker. Paths in the tables are relative to the folder of the recipe, or absolute.

    wav.scp      16 kHz mono 16-bit wav
    video.scp    media file with the video; a piece of one is clip.mp4[80:246] (frame_range.py)
    text         words in lower case; apostrophes are the only punctuation
    utt2spk      speaker; spk2utt is the inverse table
    utt2dur      duration in seconds
    phones       file with phone times (mini corpus only)
    skipped.txt  `utterance<TAB>reason` of each clip that was left out
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mome import files
from mome.data import tables


@dataclass
class DataDir:
    """The tables of a data directory, each a dict by utterance id.

    They may be in any order; `write` sorts them. `utt2dur` is in seconds. `phones` is None for
    corpora without phone times.
    """

    wav: dict[str, str]
    video: dict[str, str]
    text: dict[str, str]
    utt2spk: dict[str, str]
    utt2dur: dict[str, float]
    phones: dict[str, str] | None = None

    @property
    def utterances(self) -> list[str]:
        """All utterance ids, sorted as bytes."""
        return sort(self.utt2spk)

    @property
    def spk2utt(self) -> dict[str, list[str]]:
        """The utterances of each speaker; speakers and utterances are sorted as bytes."""
        inverse: dict[str, list[str]] = {}
        for utterance in self.utterances:
            inverse.setdefault(self.utt2spk[utterance], []).append(utterance)
        return {speaker: inverse[speaker] for speaker in sort(inverse)}

    def subset(self, utterances: Iterable[str]) -> "DataDir":
        """The same tables with these utterances only."""
        keys = sort(utterances)
        whole = {f.name: getattr(self, f.name) for f in fields(self)}
        return DataDir(**{n: t and {k: t[k] for k in keys} for n, t in whole.items()})


LONGEST_S = 86_400.0  # seconds of an utterance
FILES = {"wav": "wav.scp", "video": "video.scp"}  # the other tables have the name of their file


def sort(keys: Iterable[str]) -> list[str]:
    """Sort as `LC_ALL=C sort` does: by the bytes of UTF-8."""
    return sorted(keys, key=str.encode)


def read(path: str | Path) -> DataDir:
    """Read a data directory, and check its tables as a whole.

    Raises FileNotFoundError for a missing table, and one ValueError for tables that are malformed
    or do not fit together: it lists the first faults, each with its file, line and utterance, and
    counts the rest. Whether media files exist is not looked at: see `validation.validate`.
    """
    path = Path(path)
    found: dict[str, Any] = {}
    for name in (f.name for f in fields(DataDir)):
        file = path / FILES.get(name, name)
        if name != "phones" or file.exists():
            found[name] = tables.read(file)
    spk2utt = tables.read(path / "spk2utt")
    faults = [x for name, table in found.items() for x in _faults(name, table, found["utt2spk"])]
    tables.check(path, "data directory", faults, tables.REMEDY)
    found["utt2dur"] = {u: float(seconds) for u, seconds in found["utt2dur"].items()}
    data = DataDir(**found)
    if {speaker: utts.split() for speaker, utts in spk2utt.items()} != data.spk2utt:
        tables.check(path, "data directory", _inverse_faults(spk2utt, data), tables.REMEDY)
    return data


def _faults(name: str, table: dict[str, str], utt2spk: dict[str, str]) -> list[str]:
    """What is wrong with one table, given that its lines are."""
    file = FILES.get(name, name)
    faults = tables.key_faults(file, table, "utt2spk", utt2spk)
    for utterance, value in table.items():
        fault = ""
        if name == "utt2dur" and not _is_duration(value):
            fault = f"lasts '{value}', which is no number of seconds above 0"
        elif name == "utt2spk" and not utterance.startswith(f"{value}-"):
            fault = f"does not begin with its speaker {value} and -"
        elif name in ("wav", "video") and "|" in (value[0], value[-1]):
            fault = f"is a command, '{value}', which is never run: write its output to a file"
        if fault:
            line = tables.line_of(table, utterance)
            faults.append(f"{file}, line {line}: {utterance} {fault}")
    return faults


def _is_duration(text: str) -> bool:
    try:
        return 0 < float(text) <= LONGEST_S
    except ValueError:
        return False


def _inverse_faults(spk2utt: dict[str, str], data: DataDir) -> list[str]:
    """How spk2utt differs from the inverse of utt2spk."""
    right = {speaker: " ".join(utterances) for speaker, utterances in data.spk2utt.items()}
    faults = tables.key_faults("spk2utt", spk2utt, "the speakers of utt2spk", right)
    wrong = [s for s in spk2utt if s in right and spk2utt[s].split() != right[s].split()]
    return faults + [
        f"spk2utt, line {tables.line_of(spk2utt, s)}: {s} has other utterances than in utt2spk"
        for s in wrong
    ]


read_table = tables.read  # a file of two columns, in the order of the file


def write(path: str | Path, data: DataDir) -> None:
    """Write a data directory, sorted, and its `spk2utt`.

    All tables are written before the first one gets its name. Raises ValueError for an empty
    directory, missing keys, and values that do not fit on a line.
    """
    path = Path(path)
    if not data.utt2spk:
        raise ValueError(f"no utterance is left to write to {path}: see skipped.txt, if it exists")
    written = {f.name: getattr(data, f.name) for f in fields(data)}
    written = {name: values for name, values in written.items() if values is not None}
    for table, values in written.items():
        if sort(values) != data.utterances:
            raise ValueError(f"{path}: {table} and utt2spk do not have the same utterances")
    written["utt2dur"] = {k: f"{seconds:.5f}" for k, seconds in data.utt2dur.items()}
    written["spk2utt"] = {k: " ".join(v) for k, v in data.spk2utt.items()}
    with contextlib.ExitStack() as stack:
        for table, values in written.items():
            file_path = path / FILES.get(table, table)
            lines = [_line(file_path, key, values[key]) for key in sort(values)]
            tmp_path = stack.enter_context(files.atomic_write(file_path))
            tmp_path.write_text("".join(lines), encoding="utf-8")
        if data.phones is None:
            (path / "phones").unlink(missing_ok=True)


def _line(path: Path, key: str, value: str) -> str:
    """A line of a table. Raises ValueError when it would be read back as something else."""
    if value != " ".join(value.splitlines()).strip() or key.split() != [key]:
        raise ValueError(
            f"{path}: cannot hold {key!r} {value!r}: an utterance has no white space, and its value"
            " is one line that neither begins nor ends with it"
        )
    return f"{key} {value}\n"


def write_skipped(folder: str | Path, skipped: dict[str, str]) -> Path:
    """Write `skipped.txt`, `utterance<TAB>reason`, or remove it when nothing was left out."""
    path = Path(folder) / "skipped.txt"
    if skipped:
        lines = [f"{k}\t{' '.join(skipped[k].split())}\n" for k in sort(skipped)]
        files.write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)
    return path


def read_skipped(folder: str | Path) -> dict[str, str]:
    """The reasons in `skipped.txt`, by utterance; empty when there is no such file."""
    path = Path(folder) / "skipped.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        if "\t" not in line:
            raise ValueError(
                f"{path}, line {number}: '{line}' is no utterance, tab and reason: {tables.REMEDY}"
            )
    return dict(line.split("\t", 1) for line in lines)


def with_mouths(data: DataDir, mouths_dir: str | Path) -> tuple[dict[str, str], dict[str, str]]:
    """The path of each utterance's mouth crops, sorted, and why the others were left out.

    Raises FileNotFoundError without mouths.scp, and ValueError for an utterance that is neither in
    mouths.scp nor in skipped.txt.
    """
    have = read_table(Path(mouths_dir, "mouths.scp"))
    skipped = {
        u: r for u, r in read_skipped(mouths_dir).items() if u in data.text and u not in have
    }
    if lost := [u for u in data.utterances if u not in have and u not in skipped]:
        raise ValueError(
            f"{mouths_dir}/mouths.scp lacks {len(lost)} of {len(data.text)} utterances, such as"
            f" {lost[0]}: run stage 1 again"
        )
    return {u: have[u] for u in data.utterances if u in have}, skipped

"""Kaldi data directories: read, write, check as a whole; and what is left out of one.

A data directory `data/<set>/` holds one table a file, keyed by utterance id and sorted as bytes
(`LC_ALL=C`). An utterance id is `<speaker>-<clip>`, so that sorting by utterance and by speaker
agree. Paths in it are relative to the recipe's folder, or absolute.

    wav.scp   16 kHz mono 16-bit wav        text      words, lower case, apostrophes only
    video.scp media file with the picture   utt2spk   speaker; spk2utt is its inverse
              (a piece: clip.mp4[80:246], frames at 25 a second)
    phones    (mini only) its phone times   utt2dur   seconds
    skipped.txt  `utterance<TAB>reason`, for each clip that was left out
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from espnet2.fileio.datadir_writer import DatadirWriter
from espnet2.fileio.read_text import read_2columns_text

from mome.data import frame_range

MAX_SKIPPED = 0.01  # share of a set's clips that may be left out; none of a test set's
SHOWN = 3  # problems told in one message


@dataclass(frozen=True)
class Clip:
    """One clip of a corpus, as its reader in `mome/corpora/` finds it; text "" when it has none.

    `times` are the start and the end of a piece of its file, in seconds; the end is None at the end
    of the file. Longer than `max_seconds` it cannot be used. `fault` says why it cannot at all.
    """

    utterance: str
    speaker: str
    media_path: Path
    text: str
    phones_path: Path | None = None
    times: tuple[float, float | None] | None = None
    max_seconds: float | None = None
    fault: str = ""


@dataclass
class DataDir:
    """The tables of a data directory: dicts by utterance id, in sorted order when read or written.

    `utt2dur` is in seconds. `phones` is None for corpora without phone times.
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
        """Utterances of each speaker, both sorted as bytes."""
        inverse: dict[str, list[str]] = {}
        for utterance in self.utterances:
            inverse.setdefault(self.utt2spk[utterance], []).append(utterance)
        return {speaker: inverse[speaker] for speaker in sort(inverse)}

    def subset(self, utterances: Iterable[str]) -> "DataDir":
        """The same tables for these utterances alone."""
        keys = sort(utterances)
        tables = {f.name: getattr(self, f.name) for f in fields(self)}
        return DataDir(**{n: t and {k: t[k] for k in keys} for n, t in tables.items()})


FILES = {"wav": "wav.scp", "video": "video.scp"}  # table -> file, where the names differ


def sort(keys: Iterable[str]) -> list[str]:
    """Sort as `LC_ALL=C sort` does: by the bytes of UTF-8."""
    return sorted(keys, key=str.encode)


def is_test(path: str | Path) -> bool:
    """Whether the set of this name or folder is a test set: `test`, `test_babble_0`."""
    return Path(path).name.split("_")[0] == "test"


def read(path: str | Path) -> DataDir:
    """Read a data directory.

    Raises FileNotFoundError for a missing table, ValueError for a malformed one. `validate` checks
    what the tables say.
    """
    path = Path(path)
    tables = {}
    for table in (f.name for f in fields(DataDir)):
        file = path / FILES.get(table, table)
        if table == "phones" and not file.exists():
            continue
        tables[table] = read_table(file)
    utt2dur = tables["utt2dur"]
    for utterance, seconds in utt2dur.items():
        try:
            utt2dur[utterance] = float(seconds)
        except ValueError:
            raise ValueError(
                f"{path / 'utt2dur'}: {utterance} lasts '{seconds}', which is no number of seconds"
            ) from None
    return DataDir(**tables)


def read_table(path: str | Path) -> dict[str, str]:
    """Read a file of two columns, key and the rest of the line; the order of the file is kept."""
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} is missing: run the stage of the recipe that writes it")
    try:
        return read_2columns_text(path)
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path} has an empty or unreadable line: {error}") from None


def write(path: str | Path, data: DataDir) -> None:
    """Write a data directory, sorted, and its `spk2utt`.

    Tables are written beside and renamed, so none is ever half there. Raises ValueError for an
    empty directory, missing keys, and values that do not fit on a line.
    """
    path = Path(path)
    if not data.utt2spk:
        raise ValueError(f"no utterance is left to write to {path}: see skipped.txt, if it exists")
    tables = {f.name: getattr(data, f.name) for f in fields(data)}
    tables = {name: values for name, values in tables.items() if values is not None}
    tables["utt2dur"] = {k: f"{seconds:.5f}" for k, seconds in data.utt2dur.items()}
    tables["spk2utt"] = {k: " ".join(v) for k, v in data.spk2utt.items()}
    for table, values in tables.items():
        for key, value in values.items():
            if value != " ".join(value.splitlines()).strip() or key.split() != [key]:
                raise ValueError(f"{path / FILES.get(table, table)}: cannot hold {key!r} {value!r}")

    beside = path / ".writing"
    shutil.rmtree(beside, ignore_errors=True)
    for table, values in tables.items():
        keys = sort(values)
        if table != "spk2utt" and keys != data.utterances:
            raise ValueError(f"{path}: {table} and utt2spk are not about the same utterances")
        with DatadirWriter(beside) as writer:
            for key in keys:
                writer[FILES.get(table, table)][key] = values[key]
    if data.phones is None:
        (path / "phones").unlink(missing_ok=True)
    for file in beside.iterdir():
        os.replace(file, path / file.name)
    beside.rmdir()


def validate(path: str | Path) -> DataDir:
    """Check a data directory as a whole, and return it.

    Raises one ValueError that names the file and the utterance of the first problems and counts
    the rest: other keys than utt2spk's, order, empty text, ids that do not begin with their
    speaker, spk2utt, durations, files that do not exist.
    """
    path = Path(path)
    data = read(path)
    problems = []
    for table in (f.name for f in fields(data)):
        values, name = getattr(data, table), FILES.get(table, table)
        if values is None:
            continue
        if list(values) != sort(values):
            late = next(k for k, s in zip(values, sort(values), strict=True) if k != s)
            problems.append(f"{name} is not sorted with LC_ALL=C at {late}")
        for utterance in sort(values.keys() ^ data.utt2spk.keys()):
            where = "utt2spk" if utterance in values else name
            problems.append(f"{utterance} is missing in {where}")
        for utterance, value in values.items():
            if value == "":
                problems.append(f"{name} is empty at {utterance}")
            elif table == "utt2dur" and not 0 < value < float("inf"):
                problems.append(f"{name} says {value} at {utterance}")
            elif table == "utt2spk" and not utterance.startswith(f"{value}-"):
                problems.append(f"{name}: {utterance} does not begin with its speaker {value}")
            elif table in ("wav", "video", "phones") and not frame_range.split(value)[0].exists():
                problems.append(f"{name}: {utterance} has {value}, which does not exist")
    if not data.utt2spk:
        problems.append("utt2spk is empty")
    spk2utt = {k: v.split() for k, v in read_table(path / "spk2utt").items()}
    if list(spk2utt.items()) != list(data.spk2utt.items()):
        problems.append("spk2utt is not the inverse of utt2spk")
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(
            f"{path} is not a valid data directory: {'; '.join(problems[:SHOWN])}{more}"
        )
    return data


def write_skipped(folder: str | Path, skipped: dict[str, str]) -> Path:
    """Write `skipped.txt`, `utterance<TAB>reason`, or remove it when nothing was left out."""
    path = Path(folder) / "skipped.txt"
    if not skipped:
        path.unlink(missing_ok=True)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    lines = (f"{k}\t{' '.join(skipped[k].split())}\n" for k in sort(skipped))
    beside.write_text("".join(lines), encoding="utf-8")
    beside.replace(path)
    return path


def read_skipped(folder: str | Path) -> dict[str, str]:
    """Reasons by utterance, from `skipped.txt`; nothing when there is no such file."""
    path = Path(folder) / "skipped.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return dict(line.split("\t", 1) for line in lines)


def with_mouths(data: DataDir, mouths_dir: str | Path) -> tuple[dict[str, str], dict[str, str]]:
    """Path of the crops of each utterance, sorted, and the reasons of those that were skipped.

    Raises FileNotFoundError without mouths.scp, and ValueError for an utterance that the crops
    neither have nor list as skipped.
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


def check_skipped(
    skipped: dict[str, str], total: int, is_test: bool, where: str | Path = "skipped.txt"
) -> None:
    """Refuse a set that lost too much: over 1 % of its `total` clips, or any of a test set.

    `skipped` is reason by utterance; `where` is the file that lists them. Raises ValueError.
    """
    if not skipped or (not is_test and len(skipped) <= MAX_SKIPPED * total):
        return
    first = sort(skipped)[0]
    limit = "a test set must be whole" if is_test else f"at most {MAX_SKIPPED:.0%} may be"
    raise ValueError(
        f"{len(skipped)} of {total} clips were left out, but {limit}: {first}: {skipped[first]}; "
        f"all are listed in {where}; repair these clips, or remove them from the corpus"
    )

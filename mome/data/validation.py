"""Checks of a data directory as a whole, and of how much of a set may be left out."""

from dataclasses import fields
from pathlib import Path

from mome.data import datadir, frame_range

MAX_SKIPPED = 0.01  # share of the clips of a training or validation set that may be left out
SHOWN = 3  # problems listed in one message


def validate(path: str | Path) -> datadir.DataDir:
    """Check a data directory as a whole, and return it.

    Raises one ValueError that lists the first problems, each with its file and utterance, and
    counts the rest. Problems are: keys that differ from those of utt2spk, wrong order, empty text,
    ids that do not begin with their speaker, a wrong spk2utt, durations that are not positive, and
    files that do not exist.
    """
    path = Path(path)
    data = datadir.read(path)
    tables = {f.name: getattr(data, f.name) for f in fields(data)}
    problems = [
        problem
        for table, values in tables.items()
        if values is not None
        for problem in _problems(table, values, data.utt2spk)
    ]
    if not data.utt2spk:
        problems.append("utt2spk is empty")
    spk2utt = {k: v.split() for k, v in datadir.read_table(path / "spk2utt").items()}
    if list(spk2utt.items()) != list(data.spk2utt.items()):
        problems.append("spk2utt is not the inverse of utt2spk")
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(
            f"{path} is not a valid data directory: {'; '.join(problems[:SHOWN])}{more}"
        )
    return data


def _problems(table: str, values: dict, utt2spk: dict[str, str]) -> list[str]:
    """What is wrong with one table."""
    problems, name = [], datadir.FILES.get(table, table)
    if list(values) != datadir.sort(values):
        late = next(k for k, s in zip(values, datadir.sort(values), strict=True) if k != s)
        problems.append(f"{name} is not sorted with LC_ALL=C at {late}")
    for utterance in datadir.sort(values.keys() ^ utt2spk.keys()):
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
    return problems


def check_skipped(
    skipped: dict[str, str],
    total: int,
    is_test: bool,
    where: str | Path = "skipped.txt",
    max_skipped: float = MAX_SKIPPED,
    max_skipped_test: float = 0.0,
) -> None:
    """Raise ValueError when too many clips of a set were left out.

    Args:
        skipped: the reason by utterance.
        total: the number of clips in the set, those included.
        is_test: whether the set is a test set.
        where: the file that lists them, for the message.
        max_skipped: the share of clips that may be left out of a set that is not a test set.
        max_skipped_test: the same for a test set.
    """
    share = max_skipped_test if is_test else max_skipped
    if len(skipped) <= share * total + 1e-9:  # 0.29 * 100 is a little less than 29
        return
    limit = f"at most {100 * share:g}% may be"
    if is_test and not share:
        limit = "a test set must be whole"
    first = datadir.sort(skipped)[0]
    raise ValueError(
        f"{len(skipped)} of {total} clips were left out, but {limit}: {first}: {skipped[first]};"
        f" all are listed in {where}; repair these clips, remove them from the corpus, or raise"
        f" --{'max_skipped_test' if is_test else 'max_skipped'}"
    )

"""Checks of a data directory as a whole, and of how much of a set may be left out."""

from pathlib import Path

from mome.data import datadir, frame_range, tables

MAX_SKIPPED = 0.01  # share of the clips of a training or validation set that may be left out


def validate(path: str | Path) -> datadir.DataDir:
    """Check a data directory as a whole, its media files too, and return it.

    Raises what `datadir.read` raises, and ValueError for files that do not exist.
    """
    data = datadir.read(path)
    faults = []
    for name in ("wav", "video", "phones"):
        table = getattr(data, name) or {}
        lost = [u for u, value in table.items() if not frame_range.split(value)[0].exists()]
        file = datadir.FILES.get(name, name)
        faults += [f"{file}: {u} has {table[u]}, which does not exist" for u in lost]
    tables.check(path, "data directory", faults, "bring the files back, or repair the table")
    return data


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

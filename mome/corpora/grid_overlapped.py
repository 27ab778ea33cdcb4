"""GRID with the same speakers in all sets: 255 sentences of each are for tests, as in LipNet.

The layout on disk is that of `grid.py`. LipNet draws 255 of the 1,000 sentences of each of the 33
speakers at random, and has no validation set. Ours are drawn by a hash of the id, a share of 0.255
of the clips of each speaker for tests and of 0.05 for validation. Training uses all others (19 h),
or 181 of each speaker (5 h).
"""

from pathlib import Path

from mome.corpora import Clip, Coverage, choose_hours, grid, sort

HOURS: tuple[int, ...] = (19, 5)
SPEAKERS_DISJOINT = False
TEST_SHARE, VALID_SHARE = 0.255, 0.05


def list_sets(root: str | Path, hours: int | None = None) -> dict[str, list[Clip]]:
    """The clips of each set, sorted by utterance. FileNotFoundError when no speaker is there."""
    hours = choose_hours("GRID with overlapped speakers", hours, HOURS)
    sets: dict[str, list[Clip]] = {"train": [], "valid": [], "test": []}
    by_speaker: dict[str, list[Clip]] = {}
    for clip in grid.read_clips(Path(root)):
        by_speaker.setdefault(clip.speaker, []).append(clip)
    for clips in by_speaker.values():
        clips = grid.in_hash_order(clips)
        first = round(TEST_SHARE * len(clips))
        second = first + round(VALID_SHARE * len(clips))
        sets["test"] += clips[:first]
        sets["valid"] += clips[first:second]
        sets["train"] += clips[second:]
    if hours != HOURS[0]:
        sets["train"] = grid.limited(sets["train"], hours or 0)
    return {name: sort(clips) for name, clips in sets.items()}


def coverage(root: str | Path, hours: int | None = None) -> list[Coverage]:
    """How many of the filmed speakers have clips."""
    choose_hours("GRID with overlapped speakers", hours, HOURS)
    return grid.coverage(root)

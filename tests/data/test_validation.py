"""How much of a set may be left out. Damaged tables: test_damaged_tables.py."""

from pathlib import Path

import pytest

from mome.data import validation


@pytest.mark.parametrize(
    "lost, total, is_test, limits, fine",
    [
        (0, 100, True, {}, True),
        (1, 100, False, {}, True),
        (2, 100, False, {}, False),
        (1, 1000, True, {}, False),
        (1, 1000, True, {"max_skipped": 0.5}, False),
        (1, 1000, True, {"max_skipped_test": 0.001}, True),
        (1, 1000, True, {"max_skipped_test": 0.0009}, False),
        (29, 100, False, {"max_skipped": 0.29}, True),
        (1, 100, False, {"max_skipped": 0.0}, False),
    ],
)
def test_one_in_a_hundred_may_be_lost_and_none_of_a_test_set(lost, total, is_test, limits, fine):
    skipped = {f"s-{k}": "no face" for k in range(lost)}
    where = Path("data/x/skipped.txt")
    if fine:
        validation.check_skipped(skipped, total, is_test, where, **limits)
        return
    with pytest.raises(ValueError, match=rf"{lost} of {total} .* s-0: no face; .* data/x/skipped"):
        validation.check_skipped(skipped, total, is_test, where, **limits)

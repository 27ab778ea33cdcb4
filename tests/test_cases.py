"""The check of what a person reads of a fault can fail, and its table shows all of it."""

import errno

import pytest
from cases import line_of, table


@pytest.mark.parametrize(
    "line",
    [
        "", "too short", "two lines\nof an error", "a text: Traceback (most recent call last)",
        "[Errno 28] No space left on device", "x.mp4: <av.Frame object at 0x7f>",
        "x.txt: 'utf-8' codec can't decode byte 0xe9", "x.txt: ValueError('no text')",
    ],
)  # fmt: skip
def test_what_is_not_one_line_in_words_fails(line):
    with pytest.raises(AssertionError, match="a case"):
        line_of("a case", line)


def test_a_line_comes_back_and_an_error_of_the_system_is_put_in_words(refused):
    assert line_of("a case", "x.txt is empty") == "x.txt is empty"
    full = OSError(errno.ENOSPC, "No space left on device", "x.txt")
    assert line_of("x", full) == "x.txt: no space left on device: free some disk and run this again"
    with pytest.raises(AssertionError), refused("two lines", "a\nb"):
        raise ValueError("a\nb")


def test_a_table_has_a_part_for_each_file_and_no_marks_of_markdown_in_its_cells():
    found = [["b.py", "B", "z", "one | two <b>"], ["a.py", "A", "y\t", "it is *"]]
    assert table([*found, ["b.py", "B", "c", "three"]]) == (
        "# 3 faults, and what a person reads of each\n\n"
        "\n## A (1 cases: a.py)\n\n| case | line |\n|---|---|\n| y\\\\t | it is \\* |\n"
        "\n## B (2 cases: b.py)\n\n| case | line |\n|---|---|\n"
        "| c | three |\n| z | one \\| two \\<b\\> |\n"
    )

"""What a person reads of each fault: one line in words, and a table of all of them (`--cases`)."""

import contextlib
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from mome.bin import in_words

NO_WORDS = ("Traceback", "Errno", "object at 0x", "codec can't", "<class", "Error(")
ROOT = Path(__file__).parents[1]


def line_of(case: str, error: object) -> str:
    """The line that a person reads of an error; AssertionError when it is not one line in words."""
    line = (in_words(error) if isinstance(error, OSError) else str(error)).removesuffix("\n")
    assert len(line.splitlines()) == 1, f"{case}: {line!r} is not one line"
    assert len(line) > 10, f"{case}: {line!r} says nothing"
    for sign in NO_WORDS:
        assert sign not in line, f"{case}: {line}"
    return line


@pytest.fixture
def tell(request, record_property, tmp_path_factory) -> Callable[[str, object], str]:
    """`tell(case, error)`: `line_of`, and the line is kept for the table.

    The table shows paths from the temporary folder on.
    """
    folder = rf"{re.escape(str(tmp_path_factory.getbasetemp()))}/[^/\s:]+"
    file = Path(request.module.__file__).relative_to(ROOT)
    about = request.module.__doc__.strip().splitlines()[0]

    def tell(case: str, error: object) -> str:
        line = line_of(case, error)
        shown = re.sub(folder, ".", re.sub(f"{folder}/", "", line)).replace(f"{ROOT}/", "")
        record_property("case", [str(file), about, case, shown])
        return line

    return tell


@pytest.fixture
def refused(tell) -> Callable:
    """`refused(case, match, kinds)`: pytest.raises, whose error `tell` checks and keeps."""

    @contextlib.contextmanager
    def refused(case: str, match: str, kinds: type | tuple[type, ...] = ValueError):
        with pytest.raises(kinds, match=match) as error:
            yield error
        tell(case, error.value)

    return refused


def table(found: list[list[str]]) -> str:
    """The table, in Markdown, of [file of the test, what it is about, case, line]."""
    parts = [f"# {len(found)} faults, and what a person reads of each\n"]
    for (file, about), rows in groupby(sorted(found), key=lambda row: row[:2]):
        lines = [f"| {cell(case)} | {cell(line)} |" for _, _, case, line in rows]
        parts += [f"\n## {about} ({len(lines)} cases: {file})\n", "| case | line |", "|---|---|"]
        parts += lines
    return "\n".join(parts) + "\n"


def cell(text: str) -> str:
    """A text as a cell of a table: one line, without marks of Markdown."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return re.sub(r"([\\|*_<>`\[])", r"\\\1", shown)


def pytest_addoption(parser) -> None:
    about = "write a table of all faults that were tried, with the line that a person reads"
    parser.addoption("--cases", type=Path, metavar="FILE", help=about)


def pytest_terminal_summary(terminalreporter, config) -> None:
    path = config.getoption("--cases")
    if not path:
        return
    reports = [r for kind in terminalreporter.stats.values() for r in kind]
    calls = [r for r in reports if getattr(r, "when", None) == "call"]
    found = [value for r in calls for name, value in r.user_properties if name == "case"]
    path.write_text(table(found), encoding="utf-8")
    terminalreporter.write_line(f"{len(found)} faults and their lines: {path}")

"""Commands: one file, one verb; run as `python -m mome.bin.<verb>`, each with `--help`."""

import argparse
import difflib
import errno
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

# The threads of a step wait for each other. By default they spin for long: a thread that spins on
# one core uses up the share of the process while its partner waits for the other core. When two
# other programs kept two cores busy, a step took 2 to 3 times its fair share.
# PyTorch reads this when it is loaded. A thousand turns are short, and as fast on an idle machine.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if not sys.stderr.isatty():  # the bars of Hugging Face's packages would fill log files
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

# Packages whose own requirements contradict ours, so that pip does not install them with mome.
INSTALLED_APART = {"espnet2": "espnet==202511", "mediapipe": "mediapipe==0.10.21"}

REMEDIES = {  # of errors of the system
    errno.ENOSPC: "free some disk and run this again",
    errno.EDQUOT: "free some disk and run this again",
    errno.EMFILE: "let a process open more files (ulimit -n 4096) and run this again",
    errno.EROFS: "give a folder that can be written",
    errno.EACCES: "change its permissions, or give another one",
}


class Parser(argparse.ArgumentParser):
    """The options of a command; `--help` also prints the docstring of its file.

    `--num-jobs` means `--num_jobs`. An error is one line, with exit status 2; for an unknown option
    it suggests the nearest one.
    """

    def __init__(self, doc: str):
        script = Path(sys.argv[0])
        module = script.parent == Path(__file__).parent  # python -m mome.bin.VERB
        super().__init__(
            prog=f"python -m mome.bin.{script.stem}" if module else script.name,
            description=doc.split("\n\nShape key")[0],
            formatter_class=_Help,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """End the command with one line on stderr."""
        self.exit(2, f"{command_name()}: error: {message} ({self.prog} --help shows all options)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, but an unknown option is an error that suggests the nearest one."""
        given = [_underscored(a) for a in (sys.argv[1:] if args is None else args)]
        found, unknown = super().parse_known_args(given, namespace)
        for option in unknown:
            name = option.split("=")[0]
            near = difflib.get_close_matches(name, self._option_string_actions, n=1)
            if name.startswith("-") and near:
                self.error(f"no option {name}; did you mean {near[0]}?")
        return found, unknown


class _Help(argparse.RawDescriptionHelpFormatter):
    """The docstring as it is; defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        plain = action.default not in (None, False, argparse.SUPPRESS) and action.option_strings
        return f"{text} (default: %(default)s)".strip() if plain and "default" not in text else text


def _underscored(word: str) -> str:
    """`--a-b=c-d` -> `--a_b=c-d`; anything else as it is."""
    name, equals, value = word.partition("=")
    return (
        name.replace("-", "_").replace("__", "--", 1) + equals + value if name[:2] == "--" else word
    )


def run(main: Callable[[], None]) -> None:
    """Run a command: log lines in ESPnet's form on stderr, an expected error as one line.

    `ValueError` and `OSError` (a missing file, a full disk) are expected: exit status 1. Any other
    exception is a fault of the program and keeps its traceback. All processes of a training run
    meet the same error: they write it to the file $MOME_ERROR_FILE, and the recipe shows it once.
    When one of them has ended with an error, the others fail as they wait for it: they say nothing.
    """
    start_logging()
    try:
        main()
    except (ValueError, OSError) as error:
        line = f"{command_name()}: error: {in_words(error)}"
        if "MOME_ERROR_FILE" not in os.environ:
            sys.exit(line)
        with open(os.environ["MOME_ERROR_FILE"], "a") as file:
            file.write(f"{line}\n")
        sys.exit(1)
    except Exception:
        told = Path(os.environ.get("MOME_ERROR_FILE", ""))
        if told.is_file() and told.stat().st_size:  # by a process that this one lost as a partner
            sys.exit(1)
        raise


def in_words(error: ValueError | OSError) -> str:
    """An error as people read it: one of the system names the file, the reason and what to do.

    Of a file that is written whole or not at all, its name is shown, not the temporary one.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    name = re.sub(r"(^|/)\.([^/]+)\.\d+\.tmp$", r"\1\2", str(error.filename or ""))
    file = f"{name}: " if name else ""
    remedy = f": {REMEDIES[error.errno]}" if error.errno in REMEDIES else ""
    return f"{file}{error.strerror.lower()}{remedy}"


def command_name() -> str:
    """What error lines begin with: `mome VERB`, however the command was started."""
    script = Path(sys.argv[0])
    return f"mome {script.stem}" if script.parent == Path(__file__).parent else script.name


def report_missing_package(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Print one line instead of a traceback when a package of INSTALLED_APART is missing."""
    module = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if module not in INSTALLED_APART:
        sys.__excepthook__(kind, error, traceback)
        return
    package = INSTALLED_APART[module]
    print(
        f"{command_name()}: error: {package.partition('==')[0]} is missing: run "
        f"tools/install.sh, or: pip install --no-deps {package}",
        file=sys.stderr,
    )


sys.excepthook = report_missing_package  # commands import such packages before `run` is called


def start_logging() -> None:
    """Send log lines of level INFO to stderr, in ESPnet's form."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s (%(module)s:%(lineno)d) %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        force=True,
    )
    for noisy in ("httpx", "urllib3", "filelock", "matplotlib", "absl"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

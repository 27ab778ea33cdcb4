"""Commands: one file, one verb; run as `python -m mome.bin.<verb>`, each with `--help`."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path


def run(main: Callable[[], None]) -> None:
    """Run a command: log lines in ESPnet's form on stderr, an error made for people as one line.

    `ValueError` and `OSError` (a missing file, a full disk) are such errors: exit status 1.
    Any other exception is a fault of ours and keeps its traceback.
    """
    verb = Path(sys.argv[0]).stem
    start_logging()
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"mome.bin.{verb}: error: {error}")


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

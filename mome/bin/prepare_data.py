"""See mome/data/preparation.py."""

from mome.bin import run
from mome.data.preparation import *  # noqa: F403
from mome.data.preparation import main

if __name__ == "__main__":
    run(main)

"""See mome/data/mouths.py."""

from mome.bin import run
from mome.data.mouths import *  # noqa: F403
from mome.data.mouths import main

if __name__ == "__main__":
    run(main)

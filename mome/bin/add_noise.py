"""See mome/data/noisy_sets.py."""

from mome.bin import run
from mome.data.noisy_sets import *  # noqa: F403
from mome.data.noisy_sets import main

if __name__ == "__main__":
    run(main)

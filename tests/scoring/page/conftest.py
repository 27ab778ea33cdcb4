"""An experiment with all that the page shows, and one that has scores alone."""

import pytest
from page_experiments import full_experiment, scored

from mome.scoring.page.scored import Scored


@pytest.fixture
def bare(tmp_path) -> Scored:
    """Scores and nothing else."""
    return scored(tmp_path, "bare")


@pytest.fixture
def full(tmp_path) -> Scored:
    return full_experiment(tmp_path)

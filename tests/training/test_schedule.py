"""How long a run is, and when it validates and saves."""

import pytest

from mome.config import TrainConfig
from mome.data.dataset import Sampler
from mome.training.schedule import Schedule


def schedule(world: int = 1, **settings) -> Schedule:
    sampler = Sampler([100] * 48, 1500, seed=0, world=world)  # batches of 15, 15, 15 and 3
    return Schedule.of(TrainConfig(**settings), sampler)


@pytest.mark.parametrize("warmup", [0, 4])
def test_the_learning_rate_rises_in_a_line_and_falls_along_a_cosine(warmup):
    steps = schedule(num_steps=8 + warmup, lr=1.0, lr_warmup_steps=warmup)
    rates = [steps.learning_rate(step) for step in range(9 + warmup)]
    assert rates[:warmup] == [(k + 1) / 4 for k in range(warmup)]
    after = rates[warmup:]
    assert after[0] == 1.0 and after[4] == pytest.approx(0.5) and after[8] == pytest.approx(0)
    assert after == sorted(after, reverse=True)


@pytest.mark.parametrize("world, ends", [(1, (4, 8, 12)), (3, (2, 3, 4)), (100, (1, 1, 1))])
def test_epochs_are_steps_that_follow_from_the_data_and_the_devices(world, ends):
    found = schedule(world, num_steps=0, num_epochs=3, lr=1.0, lr_warmup_steps=0)
    assert found.epoch_ends == ends and found.num_steps == ends[-1]
    assert found.learning_rate(ends[-1]) == pytest.approx(0)
    assert f"3 epochs are {ends[-1]} steps; the first ends with step {ends[0]}" == found.describe()


def due(found: Schedule, last: int) -> list[list[int]]:
    steps = range(1, last + 1)
    return [
        [n for n in steps if is_due(n)] for is_due in (found.validates_after, found.saves_after)
    ]


def test_it_validates_and_saves_every_so_many_steps_or_at_the_end_of_epochs_and_at_the_end():
    assert due(schedule(num_steps=7, valid_every=3, save_every=2), 7) == [[3, 6, 7], [2, 4, 6, 7]]
    epochs = {"num_steps": 0, "num_epochs": 2}
    assert due(schedule(**epochs, valid_every=0, save_every=3), 8) == [[4, 8], [3, 6, 8]]
    assert schedule(num_steps=7).describe() == "7 steps"

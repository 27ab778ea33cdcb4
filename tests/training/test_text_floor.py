import math

import pytest

from mome.training.text_floor import ngram_loss, text_floor

END = 0


def test_an_order_of_one_is_the_loss_under_token_frequencies():
    text = [[1, 1, 2]] * 50
    expected = -(2 * math.log(0.5) + 2 * math.log(0.25)) / 4
    assert ngram_loss(text, text, END, 1) == pytest.approx(expected, rel=0.02)


def test_text_that_repeats_itself_costs_nothing_to_a_higher_order():
    text = [[1, 2, 3, 4]] * 200
    assert ngram_loss(text, text, END, 2) < 0.05
    assert text_floor(text, text, END) <= ngram_loss(text, text, END, 2)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_an_unknown_token_costs_much_but_not_everything(order):
    train = [[1, 2], [2, 3, 1]]
    known, unknown = (ngram_loss(train, [[t]], END, order) for t in (1, 99))
    assert known < unknown < math.inf

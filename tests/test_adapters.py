import pytest
import torch

from mome.adapters import Plain
from mome.experts import MoME


def test_it_is_mome_with_a_shared_expert_alone():
    torch.manual_seed(0)
    plain, mome, x = Plain(6, 5), MoME(6, 1, 1, 1, 5), torch.randn(2, 4, 6)
    with torch.no_grad():
        torch.nn.init.normal_(plain.up.weight)
        torch.nn.init.normal_(plain.up.bias)
        mome.down.weight[5:], mome.down.bias[5:] = plain.down.weight, plain.down.bias
        mome.up[5:], mome.up_bias[1] = plain.up.weight.T, plain.up.bias  # the routed one stays 0
    torch.testing.assert_close(plain(x), mome(x))
    assert plain.active_parameters() == 2 * 6 * 5 + 5 + 6


def test_a_fresh_one_adds_nothing():
    assert not Plain(6, 5)(torch.randn(2, 4, 6)).any()


def test_no_width_is_refused():
    with pytest.raises(ValueError, match="bottleneck must be 1 or more, got 0"):
        Plain(6, 0)

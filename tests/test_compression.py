import pytest
import torch
import torch.nn.functional as F

from mome.compression import Projector, Scale, compress, num_tokens, scales_of


def test_rate_one_keeps_every_frame():
    x = torch.randn(2, 7, 3)
    assert torch.equal(compress(x, 1), x)


@pytest.mark.parametrize("rate", [1, 2, 3, 7])
@pytest.mark.parametrize("drop_tail", [False, True])
def test_average_equals_a_loop_over_groups(rate, drop_tail):
    x = torch.randn(2, 7, 3)
    groups = [x[:, i : i + rate] for i in range(0, 7, rate)]
    if drop_tail:
        groups = [g for g in groups if g.shape[1] == rate]
    expected = torch.stack([g.mean(dim=1) for g in groups], dim=1)
    torch.testing.assert_close(compress(x, rate, drop_tail=drop_tail), expected)
    assert num_tokens(7, rate, drop_tail) == len(groups)


def test_stack_keeps_the_frames_and_fills_the_tail_with_zeros():
    x = torch.randn(1, 5, 3)
    y = compress(x, 2, "stack")
    assert y.shape == (1, 3, 6)
    assert torch.equal(y[0, :2].reshape(4, 3), x[0, :4])
    assert torch.equal(y[0, 2], torch.cat([x[0, 4], torch.zeros(3)]))


@pytest.mark.parametrize("how", ["average", "stack"])
def test_a_padded_batch_equals_its_rows(how):
    x, lengths = torch.randn(3, 11, 2), torch.tensor([11, 6, 4])
    tokens = compress(x, 4, how, lengths_B=lengths)
    for b, n in enumerate(lengths.tolist()):
        alone = compress(x[b : b + 1, :n], 4, how)
        torch.testing.assert_close(tokens[b : b + 1, : alone.shape[1]], alone)


def test_average_of_averages_is_the_coarser_scale():
    x = torch.randn(2, 16, 3)
    torch.testing.assert_close(compress(compress(x, 4), 4), compress(x, 16))


def test_too_few_frames_says_so():
    with pytest.raises(ValueError, match="rate 16 needs at least 16 frames, got 7"):
        compress(torch.randn(1, 7, 3), 16)


def test_unknown_ways_are_refused():
    with pytest.raises(ValueError, match="average, stack; got 'mean'"):
        compress(torch.randn(1, 7, 3), 2, "mean")


def test_projector_norm_is_a_norm_at_the_scale_of_the_embeddings():
    y = Projector(4, 8, 64, norm="both", out_std=0.1)(torch.randn(2, 5, 4))
    torch.testing.assert_close(y.std(dim=-1), torch.full((2, 5), 0.1), atol=0.01, rtol=0)
    plain = Projector(4, 8, 6)
    assert not any(isinstance(m, torch.nn.LayerNorm) for m in plain.modules())


def test_a_norm_after_the_projector_alone_leaves_its_input_as_it_is():
    after, x = Projector(4, 8, 64, norm="after", out_std=0.1), torch.randn(2, 5, 4)
    expected = F.layer_norm(after.out(F.relu(after.hidden(x))), (64,))
    torch.testing.assert_close(after(x), expected)
    with pytest.raises(ValueError, match="norm must be one of none, both, after; got 'before'"):
        Projector(4, 8, 64, norm="before")


@pytest.mark.parametrize("name", ["a4", "v2", "a16_v5"])
def test_scale_names_are_read_back(name):
    assert str(Scale.parse(name)) == name


@pytest.mark.parametrize("name", ["", "4_2", "a0", "v2_a4", "a4v2", "a4_", "_v2", "b3"])
def test_other_scale_names_are_refused(name):
    with pytest.raises(ValueError, match="a4_v2"):
        Scale.parse(name)


def test_scales_of_a_task_come_finest_first():
    assert list(map(str, scales_of("avsr", [4, 16], [2, 5]))) == [
        "a4_v2",
        "a4_v5",
        "a16_v2",
        "a16_v5",
    ]
    assert list(map(str, scales_of("vsr", [4, 16], [2, 5]))) == ["v2", "v5"]

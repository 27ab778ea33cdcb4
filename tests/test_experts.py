import pytest
import torch
import torch.nn.functional as F
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from mome.experts import MoME, balance_loss


def awake(num_shared: int, renormalise: bool = False) -> MoME:
    torch.manual_seed(0)
    mome = MoME(6, 5, 2, num_shared, 3, renormalise)
    for p in (mome.up, mome.up_bias, mome.down.bias):
        torch.nn.init.normal_(p)
    return mome


def loop(mome: MoME, x: torch.Tensor) -> torch.Tensor:
    """The definition: token by token, expert by expert."""
    H = mome.expert_dim
    out = torch.zeros_like(x)
    for b in range(x.shape[0]):
        for n in range(x.shape[1]):
            gates = (mome.router.weight @ x[b, n]).softmax(-1)
            top = gates.topk(mome.num_active)
            weights = top.values / top.values.sum() if mome.renormalise else top.values
            chosen = list(zip(top.indices.tolist(), weights, strict=True))
            chosen += [(mome.num_routed + s, 1.0) for s in range(mome.num_shared)]
            for e, weight in chosen:
                rows = slice(e * H, (e + 1) * H)
                hidden = F.gelu(mome.down.weight[rows] @ x[b, n] + mome.down.bias[rows])
                out[b, n] += weight * (hidden @ mome.up[rows] + mome.up_bias[e])
    return out


@pytest.mark.parametrize("num_shared", [0, 1, 2])
@pytest.mark.parametrize("renormalise", [False, True])
def test_mome_equals_a_loop_over_tokens_and_experts(num_shared, renormalise):
    mome, x = awake(num_shared, renormalise), torch.randn(2, 4, 6)
    torch.testing.assert_close(mome(x), loop(mome, x), atol=1e-5, rtol=1e-5)


def test_gradients_equal_those_of_the_loop():
    mome, x = awake(1), torch.randn(2, 4, 6)
    mome(x).square().sum().backward()
    dense = {n: p.grad.clone() for n, p in mome.named_parameters()}
    mome.zero_grad()
    loop(mome, x).square().sum().backward()
    for name, p in mome.named_parameters():
        torch.testing.assert_close(dense[name], p.grad, atol=1e-5, rtol=1e-4)


def test_route_keeps_top_k_gates_of_a_softmax_over_all():
    mome, x = awake(0), torch.randn(2, 4, 6)
    gate = mome.route(x)
    assert gate.shape == (2, 4, 5)
    assert ((gate > 0).sum(-1) == 2).all()
    assert (gate.sum(-1) < 1).all()  # not renormalised
    torch.testing.assert_close(gate.max(-1).values, mome.probabilities(x).max(-1).values)


def test_a_fresh_module_adds_nothing():
    assert torch.equal(MoME(6, 5, 2, 1, 3)(torch.randn(2, 4, 6)), torch.zeros(2, 4, 6))


def test_router_works_in_float32_whatever_the_weights():
    mome = awake(1).bfloat16()
    assert mome.probabilities(torch.randn(1, 3, 6).bfloat16()).dtype == torch.float32
    assert mome(torch.randn(1, 3, 6).bfloat16()).dtype == torch.bfloat16


def test_balance_loss_equals_that_of_transformers():
    logits = torch.randn(1, 50, 7)
    ours = balance_loss(logits.softmax(-1), 3)
    theirs = load_balancing_loss_func((logits[0],), num_experts=7, top_k=3)
    torch.testing.assert_close(ours, theirs)


def test_balance_loss_of_even_use_is_the_number_of_choices():
    probs = torch.eye(4).repeat(3, 1)[None]  # each token sure of one expert, all experts as often
    torch.testing.assert_close(balance_loss(probs, 1), torch.tensor(1.0))
    one = torch.eye(4)[:1].repeat(12, 1)[None]  # all tokens sent to the same
    torch.testing.assert_close(balance_loss(one, 1), torch.tensor(4.0))


def test_padding_does_not_count_in_the_balance():
    probs = torch.randn(2, 6, 5).softmax(-1)
    inside = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]).bool()
    expected = (balance_loss(probs[:1, :4], 2) + balance_loss(probs[1:], 2)) / 2
    torch.testing.assert_close(balance_loss(probs, 2, inside), expected)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match=r"num_active must be in 1\.\.5, got 6"):
        MoME(6, 5, 6, 1, 3)


def test_routers_of_scales_are_separate_modules_side_by_side():
    torch.manual_seed(0)
    mome, x = MoME(6, 5, 2, 1, 3, router="per_scale", num_scales=3), torch.randn(2, 4, 6)
    for scale in range(3):
        alone = awake(1)
        weights = alone.state_dict()
        weights["router.weight"] = mome.router.weight[5 * scale : 5 * scale + 5].detach()
        alone.load_state_dict(weights)
        every = dict(weights, **{"router.weight": mome.router.weight.detach()})
        mome.load_state_dict(every)
        mome.scale_index = scale
        torch.testing.assert_close(mome(x), alone(x))


def test_a_static_choice_is_the_same_for_every_token_and_is_learned():
    mome = MoME(6, 5, 2, 1, 3, router="static")
    torch.nn.init.normal_(mome.up)
    gate = mome.route(torch.randn(2, 4, 6))
    assert torch.equal(gate, gate[:1, :1].expand_as(gate))
    torch.testing.assert_close(gate[0, 0].sum(), mome.choice_R.softmax(0).topk(2).values.sum())
    mome(torch.randn(2, 4, 6)).sum().backward()
    assert mome.choice_R.grad.abs().min() > 0


@pytest.mark.parametrize(
    "router, expected", [("shared", 5 * 6), ("per_scale", 5 * 6), ("static", 5)]
)
def test_active_parameters_are_those_a_token_meets(router, expected):
    expert = (6 * 3 + 3) + (3 * 6 + 6)
    mome = MoME(6, 5, 2, 1, 3, router=router, num_scales=4)
    assert mome.active_parameters() == expected + 3 * expert


def test_an_unknown_router_is_refused():
    with pytest.raises(ValueError, match="shared, per_scale, static; got 'dynamic'"):
        MoME(6, 5, 2, 1, 3, router="dynamic")

"""Losses of ten steps of a baby model, recorded: a refactor must reproduce them."""

import pytest
import torch
from conftest import baby_model, random_batch

RECORDED = {
    "mhsa": [7.377, 6.4344, 5.7034, 5.1656, 4.8205, 4.6492, 4.3895, 4.1154, 3.9412, 3.7535],
    "ffn": [7.3627, 6.3344, 5.694, 5.1216, 4.7719, 4.5115, 4.3685, 4.1836, 3.8518, 3.7109],
    "layer": [7.3785, 6.4345, 5.7036, 5.1655, 4.8205, 4.6494, 4.3899, 4.1154, 3.9414, 3.7538],
}


def losses(**system) -> list[float]:
    """Ten steps of AdamW on one batch, at a scale each in turn."""
    torch.manual_seed(0)
    model = baby_model(**system).train()
    model.llm.lm_head.weight.data *= (
        50  # or a random LLM's loss is that of guessing, whatever comes
    )
    optimizer = torch.optim.AdamW(model.trained().values(), lr=1e-2, betas=(0.9, 0.98))
    batch, found = random_batch(), []
    for step in range(10):
        scale = str(model.scales[step % len(model.scales)])
        loss = model(scales=[scale], **batch)[0]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(model.trained().values()), 10.0)
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("position", ["mhsa", "ffn", "layer"])
def test_ten_steps_give_the_recorded_losses(position):
    assert losses(position=position) == pytest.approx(RECORDED[position], rel=2e-4)

"""The clipped surrogate, value and gradient, region by region; numbers a reader checks in their head."""

import math

import pytest
import torch

from llmft.loss.policy import clipped, clipped_surrogate

CLIP = {"clip_low": 0.2, "clip_high": 0.2, "clip_dual": None}
SIX_REGIONS = [
    # ratio, advantage, loss, gradient with respect to logp, is it clipped
    (1.0, +2.0, -2.0, -2.0, 0),  # on policy: -A, and d(-r·A)/dlogp = -r·A
    (1.1, +1.0, -1.1, -1.1, 0),  # inside the clip: -r·A
    (1.5, +1.0, -1.2, 0.0, 1),  # already raised enough: -1.2·A, gradient cut
    (0.5, +1.0, -0.5, -0.5, 0),  # good token made rarer: never clipped
    (0.5, -1.0, +0.8, 0.0, 1),  # already lowered enough: 0.8·|A|, gradient cut
    (1.5, -1.0, +1.5, +1.5, 0),  # bad token made likelier: never clipped
]


def column(value, **options):
    return torch.tensor([[value]], dtype=torch.float64, **options)


def value_and_gradient(loss, ratio, *others, **constants):
    """Loss and its derivative by the ratio's logarithm."""
    log_ratio = column(math.log(ratio), requires_grad=True)
    got = loss(log_ratio.exp(), *others, **constants)
    got.sum().backward()
    return got.item(), log_ratio.grad.item()


@pytest.mark.parametrize(("ratio", "advantage", "loss", "gradient", "cut"), SIX_REGIONS)
def test_the_six_regions(ratio, advantage, loss, gradient, cut):
    got = value_and_gradient(clipped_surrogate, ratio, column(advantage), **CLIP)
    assert got == pytest.approx((loss, gradient), abs=1e-12)
    bounds = {"clip_low": 0.2, "clip_high": 0.2}
    assert clipped(column(ratio), column(advantage), **bounds).item() == cut


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.25, +1.0, -1.25, -1.25),  # below 1 + clip_high = 1.28
        (1.30, +1.0, -1.28, 0.0),
        (0.95, -1.0, +0.95, +0.95),  # above 1 - clip_low = 0.9
        (0.85, -1.0, +0.90, 0.0),
    ],
)
def test_the_bounds_are_two(ratio, advantage, loss, gradient):
    bounds = {"clip_low": 0.1, "clip_high": 0.28}
    got = value_and_gradient(clipped_surrogate, ratio, column(advantage), **bounds, clip_dual=None)
    assert got == pytest.approx((loss, gradient), abs=1e-12)
    assert clipped(column(ratio), column(advantage), **bounds).item() == (gradient == 0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (5.0, -1.0, +3.0, 0.0),  # a bad token, far too likely: 3·|A| and no more
        (2.5, -1.0, +2.5, +2.5),  # below the bound
        (5.0, +1.0, -1.2, 0.0),  # a good token knows no dual bound, only the usual one
    ],
)
def test_dual_clip_bounds_what_a_bad_token_costs(ratio, advantage, loss, gradient):
    got = value_and_gradient(clipped_surrogate, ratio, column(advantage), **{**CLIP, "clip_dual": 3.0})
    assert got == pytest.approx((loss, gradient), abs=1e-12)


def test_no_gradient_flows_into_the_advantage():
    ratio, advantage = column(1.1, requires_grad=True), column(1.5, requires_grad=True)
    clipped_surrogate(ratio, advantage, **CLIP).sum().backward()
    assert ratio.grad is not None
    assert advantage.grad is None


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"ratio \[2, 3\], advantage \[2, 1\]; expected one \[B, T\]"):
        clipped_surrogate(torch.zeros(2, 3), torch.zeros(2, 1), **CLIP)
    with pytest.raises(ValueError, match=r"ratio \[3\]"):
        clipped(torch.zeros(3), torch.zeros(3), clip_low=0.2, clip_high=0.2)

"""k3 at ratios whose logarithm cancels: d - log d - 1, and 1 - d for its gradient."""

import math

import pytest
import torch

from llmft.loss.kl import k3


@pytest.mark.parametrize(
    ("d", "value", "gradient"),
    [
        (1.0, 0.0, 0.0),  # policy and reference agree
        (2.0, 1 - math.log(2), -1.0),  # the reference likes the token twice as much: push it up
        (0.5, math.log(2) - 0.5, +0.5),  # half as much: push it down
        (math.e, math.e - 2, 1 - math.e),
    ],
)
def test_value_and_gradient(d, value, gradient):
    logp = torch.tensor([[-1.3]], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([[-1.3 + math.log(d)]], dtype=torch.float64, requires_grad=True)
    got = k3(logp, reference)
    got.sum().backward()
    assert got.item() == pytest.approx(value, abs=1e-12)
    assert logp.grad.item() == pytest.approx(gradient, abs=1e-12)
    assert reference.grad is None


def test_its_mean_over_the_policy_is_the_divergence():
    policy = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    reference = torch.tensor([[0.2, 0.2, 0.6]], dtype=torch.float64)
    divergence = (policy * (policy / reference).log()).sum()
    assert (policy * k3(policy.log(), reference.log())).sum().item() == pytest.approx(divergence.item(), abs=1e-12)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"logp \[2, 3\], logp_reference \[1, 3\]"):
        k3(torch.zeros(2, 3), torch.zeros(1, 3))

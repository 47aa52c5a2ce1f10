"""The three estimators at ratios whose logarithm cancels, and what their gradients are in expectation."""

import math

import pytest
import torch

from llmft.loss.kl import ESTIMATORS, k1, k2, k3

LOG2 = math.log(2)
CASES = [
    # d = π_ref/π, so x = log π/π_ref = -log d
    (k3, 1.0, 0.0, 0.0),  # policy and reference agree
    (k3, 2.0, 1 - LOG2, -1.0),  # d - log d - 1, and 1 - d: the reference likes the token twice as much: push it up
    (k3, 0.5, LOG2 - 0.5, +0.5),  # half as much: push it down
    (k3, math.e, math.e - 2, 1 - math.e),
    (k1, 1.0, 0.0, 1.0),  # x, and 1
    (k1, 2.0, -LOG2, 1.0),
    (k1, 0.5, LOG2, 1.0),
    (k2, 1.0, 0.0, 0.0),  # x²/2, and x
    (k2, 2.0, LOG2**2 / 2, -LOG2),
    (k2, 0.5, LOG2**2 / 2, LOG2),
]


@pytest.mark.parametrize(("estimator", "d", "value", "gradient"), CASES)
def test_value_and_gradient(estimator, d, value, gradient):
    logp = torch.tensor([[-1.3]], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([[-1.3 + math.log(d)]], dtype=torch.float64, requires_grad=True)
    got = estimator(logp, reference)
    got.sum().backward()
    assert got.item() == pytest.approx(value, abs=1e-12)
    assert logp.grad.item() == pytest.approx(gradient, abs=1e-12)
    assert reference.grad is None


LOGITS = torch.tensor([[0.5, -0.3, 1.2]], dtype=torch.float64)
REFERENCE = torch.tensor([[0.2, 0.2, 0.6]], dtype=torch.float64)


def gradient_of(function):
    """By the logits of the policy, of a function of its log-probabilities."""
    logits = LOGITS.clone().requires_grad_()
    function(logits.log_softmax(-1)).backward()
    return logits.grad.flatten().tolist()


@pytest.mark.parametrize("estimator", [k1, k3])
def test_the_mean_over_the_policy_is_the_divergence(estimator):
    policy = LOGITS.softmax(-1)
    divergence = (policy * (policy / REFERENCE).log()).sum()
    assert (policy * estimator(policy.log(), REFERENCE.log())).sum().item() == pytest.approx(
        divergence.item(), abs=1e-12
    )


@pytest.mark.parametrize(
    ("estimator", "what"),
    [
        (k1, lambda logp: (logp * 0).sum()),  # nothing at all
        (k2, lambda logp: (logp.exp() * (logp - REFERENCE.log())).sum()),  # KL(π ‖ π_ref)
        (k3, lambda logp: (REFERENCE * (REFERENCE.log() - logp)).sum()),  # KL(π_ref ‖ π)
    ],
)
def test_what_its_gradient_descends_in_expectation(estimator, what):
    """What is written is drawn from the policy, which is no part of the gradient: its weights are constants."""
    sampled = gradient_of(lambda logp: (logp.exp().detach() * estimator(logp, REFERENCE.log())).sum())
    assert sampled == pytest.approx(gradient_of(what), abs=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS.values())
def test_shapes_that_would_broadcast_are_refused(estimator):
    with pytest.raises(ValueError, match=r"logp \[2, 3\], logp_reference \[1, 3\]"):
        estimator(torch.zeros(2, 3), torch.zeros(1, 3))

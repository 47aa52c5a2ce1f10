"""Whose ratio it is: values, and gradients by each token's log-probability."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmft.loss.policy import clipped_surrogate
from llmft.loss.ratio import log_ratio

F64 = torch.float64
# Two responses of 3 and 1 own tokens; the last two columns of the first are retrieved text and padding.
OWN = torch.tensor([[False, True, True, False, True, False], [False, True, False, False, False, False]])
CHANGE = torch.tensor([[0.0, 0.1, -0.4, 9.0, 0.6, 0.0], [0.0, -0.2, 0.0, 0.0, 0.0, 0.0]], dtype=F64)


def got(kind):
    """The logarithms of the ratios, and the derivative of the first row's in column 4 by every log-probability."""
    old = torch.full_like(CHANGE, -1.5, requires_grad=True)
    logp = (old.detach() + CHANGE).requires_grad_()
    value = log_ratio(logp, old, OWN, ratio=kind)
    value[0, 4].backward()
    assert old.grad is None
    return value.detach(), logp.grad


@pytest.mark.parametrize(
    ("kind", "first", "second", "slope"),
    [
        ("sequence_mean", 0.3 / 3, -0.2, 1 / 3),  # (0.1 - 0.4 + 0.6)/3
        ("sequence_product", 0.3, -0.2, 1.0),
    ],
)
def test_one_ratio_for_a_response(kind, first, second, slope):
    value, gradient = got(kind)
    assert value.flatten().tolist() == pytest.approx([first] * 6 + [second] * 6, abs=1e-12)
    assert gradient.flatten().tolist() == pytest.approx([0, slope, slope, 0, slope, 0] + [0] * 6, abs=1e-12)


def test_one_ratio_for_a_token():
    value, gradient = got("token")
    assert value.flatten().tolist() == pytest.approx(CHANGE.flatten().tolist(), abs=1e-12)
    assert gradient.tolist() == [[0, 0, 0, 0, 1, 0], [0.0] * 6]


@pytest.mark.parametrize(
    ("advantage", "low", "high", "loss", "slope"),
    [
        # s = exp(0.1) = 1.105: -s·A, and by each of three tokens -s·A/3
        (2.0, 0.2, 0.2, -2 * math.exp(0.1), -2 * math.exp(0.1) / 3),
        (2.0, 0.2, 0.1, -2 * 1.1, 0.0),  # above 1 + high
        (-1.0, 0.2, 0.1, math.exp(0.1), math.exp(0.1) / 3),  # a bad response made likelier is never cut
    ],
)
def test_the_clipped_surrogate_of_a_sequence(advantage, low, high, loss, slope):
    logp = (CHANGE - 1.5).requires_grad_()
    ratio = log_ratio(logp, torch.full_like(CHANGE, -1.5), OWN, ratio="sequence_mean")
    bounds = {"clip_low": low, "clip_high": high, "clip_dual": None}
    per_token = clipped_surrogate(ratio.exp(), torch.full_like(CHANGE, advantage), **bounds)
    (per_token[0, OWN[0]].sum() / 3).backward()  # the row's loss, as average=sequence shares it out among its tokens
    assert per_token[0].tolist() == pytest.approx([loss] * 6, abs=1e-12)
    assert logp.grad[0].tolist() == pytest.approx([slope * own for own in OWN[0].tolist()], abs=1e-12)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8), st.integers(0, 3))
def test_padding_changes_nothing(changes, padding):
    def value(width):
        change, own = torch.zeros(1, width, dtype=F64), torch.zeros(1, width, dtype=torch.bool)
        change[0, : len(changes)], own[0, : len(changes)] = torch.tensor(changes, dtype=F64), True
        return log_ratio(change, torch.zeros_like(change), own, ratio="sequence_mean")[0, 0].item()

    assert value(len(changes) + padding) == pytest.approx(math.fsum(changes) / len(changes), abs=1e-12)


def test_a_row_without_own_tokens_has_ratio_1():
    zero = torch.zeros(1, 3, dtype=F64)
    assert log_ratio(zero - 5, zero, torch.zeros(1, 3, dtype=torch.bool), ratio="sequence_mean").tolist() == [[0, 0, 0]]

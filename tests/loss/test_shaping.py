"""Each shape of a ratio: value and derivative, against the published curve and worked out by hand."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmft.loss.shaping import Shaping

F64 = torch.float64
P, Q, W, E, G = 0.2, 0.5, 0.3, 0.25, 0.1  # probability now and before, weight, power, gamma
X = P / Q


def shaping(shape, gamma=G):
    return Shaping(shape, gamma=gamma, weight=W, power=E)


def column(value):
    return torch.tensor([[value]], dtype=F64)


def both(shape, author):
    """Value, and derivative by the log-probability of now."""
    logp, old = column(math.log(P)).requires_grad_(), column(math.log(Q))
    log_ratio, one = logp - old, shaping(shape)
    got = one.others(log_ratio, logp) if author == "others" else one.own(log_ratio, logp, old)
    got.sum().backward()
    return got.item(), logp.grad.item()


@pytest.mark.parametrize(
    ("shape", "others", "own"),
    [
        # value, derivative
        ("none", (X, X), (X, X)),
        ("logp", (W * math.log(P), W), (math.log(X), 1.0)),
        ("p_logp", (X + W * math.log(P), X + W), (X + W * math.log(X), X + W)),
        ("square_root", (math.sqrt(X), math.sqrt(X) / 2), (math.sqrt(X), math.sqrt(X) / 2)),
        ("pow", (X**E, E * X**E), (X**E, E * X**E)),
        (
            "gamma",
            (0.4 / 0.5, 0.1 * 0.4 / 0.5**2),  # x = 0.4: x/(x + 0.1), and 0.1·x/(x + 0.1)²
            ((0.2 / 0.3) / (0.5 / 0.6), (0.1 * 0.2 / 0.3**2) / (0.5 / 0.6)),
        ),
    ],
)
def test_a_shape_by_hand(shape, others, own):
    assert both(shape, "others") == pytest.approx(others, abs=1e-12)
    assert both(shape, "own") == pytest.approx(own, abs=1e-12)


def test_the_published_curve(shared):
    curve = json.loads(shared("vectors/vectors.json").read_text())["shaping"]
    x = torch.tensor([curve["x"]], dtype=F64)
    log_x = x.log().requires_grad_()
    f = shaping("gamma").others(log_x, log_x)
    f.sum().backward()
    assert f[0].tolist() == pytest.approx(curve["f_gamma_0_1"], abs=1e-9)
    assert log_x.grad[0].tolist() == pytest.approx(curve["grad_weight_wrt_logp_gamma_0_1"], abs=1e-9)


@given(st.floats(-20, 5), st.floats(0.001, 10))
def test_the_saturated_shape_is_the_quotient_and_steepest_at_gamma(log_x, gamma):
    point = column(log_x).requires_grad_()
    f = shaping("gamma", gamma).others(point, point)
    f.sum().backward()
    x = math.exp(log_x)
    assert f.item() == pytest.approx(x / (x + gamma), rel=1e-12)
    assert point.grad.item() == pytest.approx(gamma * x / (x + gamma) ** 2, rel=1e-9)
    assert point.grad.item() <= 0.25 + 1e-15


def test_a_ratio_beyond_all_numbers_stays_one():
    point = column(2000.0).requires_grad_()
    f = shaping("gamma").others(point, point)
    f.sum().backward()
    assert (f.item(), point.grad.item()) == (1.0, 0.0)

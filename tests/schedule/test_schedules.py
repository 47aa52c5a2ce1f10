import math

import pytest

from llmft.schedule.constant import Constant
from llmft.schedule.warmup_cosine import WarmupCosine


@pytest.mark.parametrize(("warmup", "step", "factor"), [(0, 0, 1.0), (4, 0, 0.25), (4, 3, 1.0), (4, 99, 1.0)])
def test_constant(warmup, step, factor):
    assert Constant(warmup_steps=warmup).factor(step, 100) == factor


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 0.5),  # half way up
        (1, 1.0),  # the top
        (2, 1.0),  # the cosine begins: cos 0
        (6, 0.1 + 0.9 * 0.5),  # half way down: 4 of 8 steps
        (10, 0.1),  # the last of 11 steps: cos pi
        (50, 0.1),  # beyond
    ],
)
def test_warmup_cosine(step, factor):
    assert WarmupCosine(warmup_steps=2, final_fraction=0.1).factor(step, 11) == pytest.approx(factor, abs=1e-12)


def test_a_run_of_one_step_has_a_finite_rate():
    assert math.isfinite(WarmupCosine(warmup_steps=0, final_fraction=0.0).factor(0, 1))

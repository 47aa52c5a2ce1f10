"""Ratios by strategy and step, as LUFFY's code has them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.guidance.prefix import Prefix


def prefix(strategy, low=0.0, high=1.0, steps=1000, peak=0.8, shared=False) -> Prefix:
    return Prefix(strategy, low, high, steps, peak, shared)


class Highest(Random):
    """Draws the upper bound, so that a test sees it."""

    def uniform(self, a, b):
        assert a == 0
        return b


def test_full_is_all_of_it():
    assert prefix("full", low=0.2, high=0.5).ratios(3, 7, Random(0)) == [1.0] * 3
    assert not prefix("full").partial
    assert prefix("random").partial


@pytest.mark.parametrize(("step", "ratio"), [(0, 0.8), (250, 0.6), (500, 0.4), (999, 0.0008), (1000, 0), (5000, 0)])
def test_linear_falls_from_its_peak_to_nothing(step, ratio):
    assert prefix("linear").ratios(2, step, Random(0)) == pytest.approx([ratio, ratio], abs=1e-12)


# Ten stages of 100 steps; a step between two belongs to the earlier one, and one past the last to the last.
STAGES = [(0, 0), (1, 0), (100, 0), (101, 1), (200, 1), (201, 2), (900, 8), (901, 9), (1000, 9), (1001, 9), (9999, 9)]


@pytest.mark.parametrize(("step", "stage"), STAGES)
def test_the_bounds_of_the_staged_strategies(step, stage):
    assert prefix("linear_max").ratios(1, step, Highest()) == pytest.approx([0.8 * (10 - stage) / 10], abs=1e-12)
    assert prefix("reverse_linear").ratios(1, step, Highest()) == pytest.approx([0.8 * (stage + 1) / 10], abs=1e-12)


def test_fixed_ratios_are_evenly_apart():
    assert prefix("fixed", low=0.2, high=0.8).ratios(4, 0, Random(0)) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert prefix("fixed", low=0.2, high=0.8).ratios(1, 0, Random(0)) == [0.8]
    assert prefix("fixed", low=0.2, high=0.8, shared=True).ratios(2, 0, Random(0)) == [0.8, 0.8]


@given(seed=st.integers(), step=st.integers(0, 3000), count=st.integers(1, 8), shared=st.booleans())
def test_a_ratio_is_a_share_of_its_own(seed, step, count, shared):
    for strategy, low, high in (("random", 0.25, 0.75), ("linear_max", 0, 0.8), ("reverse_linear", 0, 0.8)):
        drawn = prefix(strategy, low=0.25, high=0.75, shared=shared)
        ratios = drawn.ratios(count, step, Random(seed))
        assert len(ratios) == count
        assert all(low <= ratio <= high for ratio in ratios)
        assert (len(set(ratios)) == 1) == (shared or count == 1)
        assert ratios == drawn.ratios(count, step, Random(seed))


def test_bounds_the_wrong_way_round():
    with pytest.raises(ValueError, match=r"guidance\.prefix_min=0\.6: it is above guidance\.prefix_max=0\.4"):
        prefix("random", low=0.6, high=0.4)

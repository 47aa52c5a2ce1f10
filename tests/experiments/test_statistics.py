"""Intervals and tests over seeds, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.statistics import apart, difference, holm

T2 = 4.302652729911275  # the 97.5 % point of Student's t with 2 degrees of freedom


def test_a_difference_is_paired_by_seed():
    found = difference({1: 0.5, 2: 0.7, 3: 0.9}, {3: 0.6, 1: 0.4, 2: 0.5})  # by seed: .1, .2, .3
    assert found is not None
    t = 0.2 / (0.1 / math.sqrt(3))
    assert found.mean == pytest.approx(0.2, abs=1e-12)
    assert found.half == pytest.approx(T2 * 0.1 / math.sqrt(3), abs=1e-9)
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-9)  # Student's tails at 2 degrees, closed
    assert found.seeds == 3


def test_a_difference_knows_its_direction():
    down = difference({1: 0.1, 2: 0.3}, {1: 0.2, 2: 0.5})
    assert down is not None
    assert down.mean == pytest.approx(-0.15)


def test_seeds_that_one_row_lacks_are_left_out():
    found = difference({1: 0.5, 2: 0.9, 4: 1.0}, {1: 0.25, 2: 0.25, 3: 0.0})
    assert found is not None
    assert (found.seeds, found.mean) == (2, pytest.approx(0.45))
    assert difference({1: 0.5}, {2: 0.5}) is None


def test_one_seed_has_no_interval_and_no_test():
    found = difference({1: 0.5}, {1: 0.25})
    assert found is not None
    assert (found.mean, found.half, found.p) == (0.25, math.inf, None)


@pytest.mark.parametrize(("gap", "p"), [(0.0, 1.0), (0.25, 0.0)])
def test_without_spread_the_test_says_what_there_is_to_say(gap, p):
    found = difference({1: gap, 2: gap, 3: gap}, dict.fromkeys((1, 2, 3), 0.0))
    assert found is not None
    assert (found.half, found.p) == (0.0, p)


def test_holm():
    # smallest times 3, next times 2, and never less than the one before; the missing one does not count
    assert holm([0.04, None, 0.01, 0.03]) == [pytest.approx(0.06), None, pytest.approx(0.03), pytest.approx(0.06)]
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_only_raises_and_keeps_the_order(values):
    corrected = holm(values)
    pairs = sorted(zip(values, corrected, strict=True))
    assert all(value <= p <= 1 for value, p in pairs if p is not None)
    assert [p for _, p in pairs] == sorted(p for p in corrected if p is not None)


def test_intervals_apart():
    # half widths of 0.01 * t / sqrt(3) = .0248 each
    assert apart([0.59, 0.6, 0.61], [0.54, 0.55, 0.56]) is True
    assert apart([0.59, 0.6, 0.61], [0.55, 0.56, 0.57]) is False
    assert apart([0.54, 0.55, 0.56], [0.59, 0.6, 0.61]) is False
    assert apart([0.9], [0.1]) is False  # one seed has no interval

"""Means, intervals and paired tests over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmft.trainer.sweep import interval


class Difference(NamedTuple):
    """One row minus another, seed by seed."""

    mean: float
    half: float  # of the 95 % interval of the mean difference, Student's t; infinite for one seed
    p: float | None  # two-sided, of the paired t-test; None for one seed
    seeds: int


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """``one`` minus ``other`` over the seeds that both have; None if there are none.

    Where all differences are the same there is no spread to test against: p is 1 if they are 0, else 0.
    """
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    gaps = [one[seed] - other[seed] for seed in seeds]
    mean, half = interval(gaps)
    return Difference(mean, half, _p_value(gaps), len(gaps))


def _p_value(gaps: Sequence[float]) -> float | None:
    """Of the t-test that the mean of ``gaps`` is 0, which is the paired test."""
    from scipy.stats import ttest_1samp

    if len(gaps) < 2:
        return None
    if max(gaps) - min(gaps) < 1e-12:
        return 1.0 if abs(gaps[0]) < 1e-12 else 0.0
    test: Any = ttest_1samp(gaps, 0.0)
    return float(test.pvalue)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for how many there are (Holm 1979); those that are None stay so and do not count."""
    order = sorted((value, place) for place, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    least = 0.0
    for rank, (value, place) in enumerate(order):
        least = max(least, min(1.0, value * (len(order) - rank)))
        corrected[place] = least
    return corrected


def apart(above: Sequence[float], below: Sequence[float]) -> bool:
    """Does the 95 % interval of the mean of ``above`` lie above that of ``below``?"""
    (high, high_half), (low, low_half) = interval(above), interval(below)
    return math.isfinite(high_half + low_half) and high - high_half > low + low_half

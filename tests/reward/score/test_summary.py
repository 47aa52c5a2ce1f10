"""What scores come to, in numbers a reader checks in their head."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.reward.score.records import Recorded
from llmft.reward.score.summary import agreement, columns, percentile, spread, verdict
from llmft.types import Score


def test_the_spread_of_five_values():
    # mean 3; squares 4 + 1 + 0 + 1 + 4 = 10, over n - 1 = 4: sd = sqrt(2.5)
    assert spread([5.0, 1.0, 4.0, 2.0, 3.0]) == (5, 3.0, pytest.approx(2.5**0.5), 1.0, 2.0, 3.0, 4.0, 5.0)
    assert spread([7.0]) == (1, 7.0, 0.0, 7.0, 7.0, 7.0, 7.0, 7.0)
    assert spread([]) is None


def test_a_percentile_lies_between_two_neighbours():
    values = [40.0, 10.0, 30.0, 20.0]  # places 0, 1, 2, 3: 50 % is at 1.5, 90 % at 2.7
    assert percentile(values, 50) == 25.0
    assert percentile(values, 90) == pytest.approx(37.0)
    assert [percentile(values, 0), percentile(values, 100)] == [10.0, 40.0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0, 100))
def test_percentiles_are_numpys(values, share):
    assert percentile(values, share) == pytest.approx(np.percentile(values, share), abs=1e-6)


def test_columns_have_what_failed_rollouts_have_too():
    scores = [
        Score(1.0, {"a": 1.0, "b": 2.0}),
        Score(None, {"b": 3.0}, failure="a: x"),
        Score(2.0, {"a": 4.0, "c": 5.0}),
    ]
    assert columns(scores) == {"a": [1.0, 4.0], "b": [2.0, 3.0], "c": [5.0]}


def test_agreement_counts_values_verdicts_and_failures():
    now = [
        Score(1.0, correct=True), Score(0.5, correct=True), Score(0.0, correct=False), Score(None, failure="x"),
        Score(None, failure="x"), Score(0.0, correct=True), Score(0.3), Score(1.0 + 1e-12, correct=True),
    ]  # fmt: skip
    was = [
        Recorded(1.0, {}, True), Recorded(1.0, {}, True), Recorded(1.0, {}, True), Recorded(1.0, {}, True),
        Recorded(None, {}, None), Recorded(0.0, {}, False), None, Recorded(1.0, {}, True),
    ]  # fmt: skip
    found = agreement(now, was)
    assert found is not None
    assert (found.compared, found.differing) == (7, [1, 2, 3, 5])
    assert found.mean_difference == pytest.approx(1.5 / 5)  # 0, 0.5, 1, 0, 0 where both have a value
    assert found.largest_difference == 1.0
    assert found.became == {"right -> wrong": 1, "right -> failed": 1, "wrong -> right": 1}
    assert agreement(now, [None] * 8) is None


def test_a_verdict_in_a_word():
    scores = [Score(1.0, correct=True), Score(1.0, correct=False), Score(1.0), Score(None, failure="x")]
    assert [verdict(score) for score in scores] == ["right", "wrong", "no verdict", "failed"]

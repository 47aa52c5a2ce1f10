"""Advantages against numbers worked out by hand, and against the published implementations' own."""

import json
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.advantage.group import Advantage, group_advantages

rewards = st.floats(-10, 10).map(lambda value: round(value, 3))


def test_worked_out_by_hand():
    # mean 1/4; squared deviations 9/16 + 3 · 1/16 = 3/4, over n - 1 = 3: variance 1/4, deviation 1/2
    assert group_advantages([1, 0, 0, 0], "group") == [0.75, -0.25, -0.25, -0.25]
    expected = [0.75 / 0.500001, *[-0.25 / 0.500001] * 3]
    assert group_advantages([1, 0, 0, 0], "group_std") == pytest.approx(expected, abs=1e-15)


def test_leave_one_out_by_hand():
    # the others' means: (0 + 0 + 0)/3 = 0, and (1 + 0 + 0)/3 = 1/3 for each of the three
    assert group_advantages([1, 0, 0, 0], "leave_one_out") == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3], abs=1e-15)
    # (5 + 6)/2, (2 + 6)/2, (2 + 5)/2
    assert group_advantages([2, 5, 6], "leave_one_out") == pytest.approx([2 - 5.5, 5 - 4, 6 - 3.5], abs=1e-12)


@given(st.lists(rewards, min_size=2, max_size=16).filter(lambda values: len(set(values)) > 1))
def test_leave_one_out_is_the_reward_minus_the_mean_of_the_others(values):
    others = [math.fsum(values[:i] + values[i + 1 :]) / (len(values) - 1) for i in range(len(values))]
    expected = [value - other for value, other in zip(values, others, strict=True)]
    assert group_advantages(values, "leave_one_out") == pytest.approx(expected, abs=1e-9)


def test_the_published_vectors(shared):
    vectors = json.loads(shared("vectors/vectors.json").read_text())
    groups = [vectors["inputs"]["REWARDS"][:4], vectors["inputs"]["REWARDS"][4:]]
    for name, kind in (("dr_grpo_no_std", "group"), ("grpo_std_unbiased_eps1e_6", "group_std")):
        got = [advantage for group in groups for advantage in group_advantages(group, kind)]
        assert got == pytest.approx(vectors["advantages"][name], abs=1e-9)


@pytest.mark.parametrize("kind", get_args(Advantage))
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3])
@pytest.mark.parametrize("size", [2, 3, 7, 10])
def test_equal_rewards_carry_exactly_no_signal(value, size, kind):
    assert group_advantages([value] * size, kind) == [0.0] * size


@pytest.mark.parametrize("rewards", [[], [1.0]])
def test_nothing_to_compare_with(rewards):
    with pytest.raises(ValueError, match="give each task two or more scored responses"):
        group_advantages(rewards, "group_std")


@given(st.lists(rewards, min_size=2, max_size=16), st.sampled_from(get_args(Advantage)))
def test_advantages_sum_to_zero_and_keep_the_order(values, kind):
    advantages = group_advantages(values, kind)
    assert math.fsum(advantages) == pytest.approx(0, abs=1e-6)
    by_reward = [advantage for _, advantage in sorted(zip(values, advantages, strict=True))]
    assert by_reward == sorted(advantages)

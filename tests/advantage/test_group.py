"""Advantages against numbers worked out by hand, and against the published implementations' own."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.advantage.group import group_relative

rewards = st.floats(-10, 10).map(lambda value: round(value, 3))


def test_worked_out_by_hand():
    # mean 1/4; squared deviations 9/16 + 3 · 1/16 = 3/4, over n - 1 = 3: variance 1/4, deviation 1/2
    assert group_relative([1, 0, 0, 0], normalize=False) == [0.75, -0.25, -0.25, -0.25]
    expected = [0.75 / 0.500001, *[-0.25 / 0.500001] * 3]
    assert group_relative([1, 0, 0, 0], normalize=True) == pytest.approx(expected, abs=1e-15)


def test_the_published_vectors(shared):
    vectors = json.loads(shared("vectors/vectors.json").read_text())
    groups = [vectors["inputs"]["REWARDS"][:4], vectors["inputs"]["REWARDS"][4:]]
    for name, normalize in (("dr_grpo_no_std", False), ("grpo_std_unbiased_eps1e_6", True)):
        got = [advantage for group in groups for advantage in group_relative(group, normalize=normalize)]
        assert got == pytest.approx(vectors["advantages"][name], abs=1e-9)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3])
@pytest.mark.parametrize("size", [2, 3, 7, 10])
def test_equal_rewards_carry_exactly_no_signal(value, size, normalize):
    assert group_relative([value] * size, normalize=normalize) == [0.0] * size


@pytest.mark.parametrize("rewards", [[], [1.0]])
def test_nothing_to_compare_with(rewards):
    with pytest.raises(ValueError, match="give each task two or more scored responses"):
        group_relative(rewards, normalize=True)


@given(st.lists(rewards, min_size=2, max_size=16))
def test_advantages_sum_to_zero_and_keep_the_order(values):
    advantages = group_relative(values, normalize=True)
    assert math.fsum(advantages) == pytest.approx(0, abs=1e-6)
    by_reward = [advantage for _, advantage in sorted(zip(values, advantages, strict=True))]
    assert by_reward == sorted(advantages)

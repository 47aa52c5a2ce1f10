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


# ---------------------------------------------------------------- compared with some of the group

OWN_OF_FOUR = [False, True, True, True]  # the first is somebody else's


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # the own rewards 0, 1, 0: mean 1/3, unbiased deviation 1/√3
        ("group", [2 / 3, -1 / 3, 2 / 3, -1 / 3]),
        ("group_std", [value / (1 / math.sqrt(3) + 1e-6) for value in (2 / 3, -1 / 3, 2 / 3, -1 / 3)]),
        # another's against all three; one's own against the other two: 0 - 1/2, 1 - 0, 0 - 1/2
        ("leave_one_out", [2 / 3, -1 / 2, 1.0, -1 / 2]),
    ],
)
def test_compared_with_the_policys_own(kind, expected):
    assert group_advantages([1, 0, 1, 0], kind, compared=OWN_OF_FOUR) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("kind", "first"), [("group", 1.0), ("group_std", 1 / 1.000001), ("leave_one_out", 1.0)])
def test_equal_own_rewards_are_no_signal_and_their_deviation_counts_as_one(kind, first):
    got = group_advantages([1, 0, 0, 0], kind, compared=OWN_OF_FOUR)
    assert got == [pytest.approx(first, abs=1e-15), 0, 0, 0]
    assert group_advantages([0.1] * 4, kind, compared=OWN_OF_FOUR) == [0.0] * 4


def test_the_published_split(shared):
    vectors = json.loads(shared("vectors/vectors.json").read_text())
    rewards, expected = vectors["inputs"]["REWARDS"], vectors["advantages"]["grpo_split_on_rows_only_no_std"]
    groups = [group_advantages(one, "group", compared=OWN_OF_FOUR) for one in (rewards[:4], rewards[4:])]
    assert groups[0] + groups[1] == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(rewards, st.booleans()), min_size=2, max_size=12), st.sampled_from(get_args(Advantage)))
def test_what_is_not_compared_with_changes_no_others_credit(pairs, kind):
    values, compared = zip(*pairs, strict=True)
    if sum(compared) < 2:
        with pytest.raises(ValueError, match="nothing to compare with"):
            group_advantages(values, kind, compared=compared)
        return
    together = group_advantages(values, kind, compared=compared)
    alone = group_advantages([value for value, counts in pairs if counts], kind)
    assert [one for one, counts in zip(together, compared, strict=True) if counts] == alone

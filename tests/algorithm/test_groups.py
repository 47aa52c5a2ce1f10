"""Scoring, comparing and sharing out, one function at a time."""

from dataclasses import replace

import pytest

from llmft.algorithm.groups import (
    Sampled,
    choose,
    compare,
    divide,
    has_signal,
    missing,
    noted,
    overlong_penalties,
    score,
)
from llmft.protocols import Drawn
from llmft.types import Score


def test_scores_that_are_there_stay(parts):
    rollouts = [parts.write(parts.task(0, [1, 0.25], [2, 2]), j) for j in range(2)]
    groups = score([[replace(rollouts[0], score=Score(7.0)), rollouts[1]], [rollouts[0]]], parts.Known())
    assert [[one.reward for one in group] for group in groups] == [[7.0, 0.25], [1.0]]


def test_a_reward_that_loses_a_score_is_found_out(parts):
    class Forgetful(parts.Known):
        def score(self, rollouts):
            return super().score(rollouts)[1:]

    with pytest.raises(ValueError, match="zip"):
        score([[parts.write(parts.task(0, [1, 0], [2, 2]), j) for j in range(2)]], Forgetful())


@pytest.mark.parametrize(
    ("rewards", "advantages", "signal"),
    [
        ([1, 0], [0.5, -0.5], True),
        ([1, 1], [0, 0], False),
        ([1, None, 0], [0.5, 0, -0.5], True),
        ([1, None, 1], [0, 0, 0], False),
        ([1, None, None], [0, 0, 0], False),
        ([None, None], [0, 0], False),
    ],
)
def test_compare(parts, rewards, advantages, signal):
    task = parts.task(0, rewards, [2] * len(rewards))
    (group,) = score([[parts.write(task, j) for j in range(len(rewards))]], parts.Known())
    compared = compare(group, advantage="group", baseline="union", bonus=[0.0] * len(group))
    assert [one.advantages for one in compared] == [(advantage,) * 2 for advantage in advantages]
    assert has_signal(compared) == signal


@pytest.mark.parametrize(("parts_of_it", "expected"), [(1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (5, [1] * 5)])
def test_divide_shares_tasks_out_evenly(parts, parts_of_it, expected):
    tasks = [parts.task(number, [1], [2]) for number in range(5)]
    drawn = [Drawn(position, task) for position, task in enumerate(tasks, start=17)]
    divided = divide(drawn, [[parts.write(task, 0)] for task in tasks], parts_of_it)
    assert [len(part) for part in divided] == expected
    assert [one.task.id for part in divided for one in part] == ["t0", "t1", "t2", "t3", "t4"]


@pytest.mark.parametrize(
    ("again", "expected"),
    [(2, ["t3 t0 t1", "t2 t4"]), (4, ["t1 t2 t0", "t3 t4"])],
)
def test_divide_gives_each_part_its_share_of_what_is_met_again(parts, again, expected):
    """Positions -5 to -1 first would put all of them into the first part."""
    drawn = [
        Drawn(number - 5 if number >= 5 - again else 17 + number, parts.task(number, [1], [2])) for number in range(5)
    ]
    divided = divide(drawn, [[parts.write(one.task, 0)] for one in drawn], 2)
    assert [{one.task.id for one in part} for part in divided] == [set(names.split()) for names in expected]


def scored(parts, *rewards):
    """A group of one-token responses, except that the j-th has j + 1."""
    task = parts.task(0, rewards, [j + 1 for j in range(len(rewards))])
    (group,) = score([[parts.write(task, j) for j in range(len(rewards))]], parts.Known())
    return group


def test_a_bonus_is_compared_and_not_reported(parts):
    group = compare(scored(parts, 1, None, 0), advantage="group", baseline="union", bonus=[-0.5, 9.0, 0.25])
    # 0.5 and 0.25 are compared; what failed is not, whatever its bonus
    assert [one.advantages[0] for one in group] == [0.125, 0, -0.125]
    assert [one.score.value for one in group] == [1, None, 0]


def test_a_bonus_is_no_signal(parts):
    group = scored(parts, 1, 1)
    assert not has_signal(compare(group, advantage="group", baseline="union", bonus=[0.5, 0.0]))


def test_only_the_policy_pays_for_length(parts):
    group = scored(parts, 1, 1, 1, 1)
    group[3] = replace(group[3], source="trace")
    assert overlong_penalties(group, 4, 2.0) == [0, 0, -0.5, 0]


def test_what_is_noted_is_a_part_and_no_value(parts):
    group = noted(scored(parts, 1, None), "overlong", [-0.5, -1.0])
    assert [one.score.value for one in group] == [1, None]
    assert [one.score.parts for one in group] == [{"right": 1, "overlong": -0.5}, {"overlong": -1.0}]


def test_choose_prefers_signal_then_order(parts):
    groups = {7: [1, 1], 8: [1, 0], 9: [0, 0], 12: [0, 1], 13: [1, 1]}
    sampled = [Sampled(Drawn(at, parts.task(0, [], [])), scored(parts, *rewards)) for at, rewards in groups.items()]
    assert missing(sampled, 4) == 2
    assert missing(sampled, 1) == 0
    for wanted, expected in [(1, [8]), (2, [8, 12]), (3, [7, 8, 12]), (4, [7, 8, 9, 12])]:
        assert [one.drawn.position for one in choose(sampled, wanted)] == expected


@pytest.mark.parametrize(
    ("sources", "rewards", "union", "own"),
    [
        (["policy"] * 3 + ["trace"], [0, 1, 0, 1], [-0.5, 0.5, -0.5, 0.5], [-1 / 3, 2 / 3, -1 / 3, 2 / 3]),
        (["policy", "policy", "replay"], [0, 0, 1], [-1 / 3, -1 / 3, 2 / 3], [0, 0, 1]),
        (["policy", "trace"], [0, 1], [-0.5, 0.5], [0, 0]),  # one own response is compared with none
        (["policy", "policy", "trace"], [0, None, 1], [-0.5, 0, 0.5], [0, 0, 0]),
        (["policy", "policy", "trace"], [0, 1, None], [-0.5, 0.5, 0], [-0.5, 0.5, 0]),
    ],
)
def test_whose_rewards_are_the_baseline(parts, sources, rewards, union, own):
    task = parts.task(0, rewards, [2] * len(rewards))
    rows = [replace(parts.write(task, j), source=source) for j, source in enumerate(sources)]
    (group,) = score([rows], parts.Known())
    for baseline, expected in (("union", union), ("own", own)):
        compared = compare(group, advantage="group", baseline=baseline, bonus=[0.0] * len(group))
        assert [one.advantages[0] for one in compared] == pytest.approx(expected, abs=1e-12)

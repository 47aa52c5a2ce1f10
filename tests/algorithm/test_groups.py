"""Scoring, comparing and sharing out, one function at a time."""

from dataclasses import replace

import pytest

from llmft.algorithm.groups import compare, divide, has_signal, score
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
    compared = compare(group, normalize=False)
    assert [one.advantages for one in compared] == [(advantage,) * 2 for advantage in advantages]
    assert has_signal(compared) == signal


@pytest.mark.parametrize(("parts_of_it", "expected"), [(1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (5, [1] * 5)])
def test_divide_shares_tasks_out_evenly(parts, parts_of_it, expected):
    tasks = [parts.task(number, [1], [2]) for number in range(5)]
    drawn = [Drawn(position, task) for position, task in enumerate(tasks, start=17)]
    divided = divide(drawn, [[parts.write(task, 0)] for task in tasks], parts_of_it)
    assert [len(part) for part in divided] == expected
    assert [one.task.id for part in divided for one in part] == ["t0", "t1", "t2", "t3", "t4"]

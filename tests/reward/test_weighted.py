"""Sums of parts; what failed is told from what is bad."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.reward.weighted import Weighted
from llmft.types import Rollout, Task


def rollout(text: str, answer: str = "1") -> Rollout:
    return Rollout(Task("t", (), "math", answer=answer), (), (), (), (), "policy", text, "end")


ROLLOUTS = [rollout(text) for text in "abcd"]


class Table:
    """A part that looks its values up by text, and counts its calls."""

    minimum = 0.0

    def __init__(self, values):
        self.values = values
        self.calls = 0

    def __call__(self, rollouts):
        self.calls += 1
        return [self.values[rollout.text] for rollout in rollouts]


class Breaks(Table):
    """Raises for the texts whose value is an exception."""

    def __call__(self, rollouts):
        for value in super().__call__(rollouts):
            if isinstance(value, Exception):
                raise value
        return [self.values[rollout.text] for rollout in rollouts]


class Forgets:
    """Gives no value for the last of a batch, and none at all for ``d``."""

    minimum = 0.0

    def __call__(self, rollouts):
        return [] if rollouts[0].text == "d" else [1.0] * max(1, len(rollouts) - 1)


def weighted(parts, *, weights=None, success_at=1.0, max_failure_rate=1.0) -> Weighted:
    return Weighted(
        parts=parts,
        weights=weights or dict.fromkeys(parts, 1.0),
        success_part=next(iter(parts)),
        success_at=success_at,
        max_failure_rate=max_failure_rate,
    )


def test_the_sum_and_each_part():
    parts = {"right": Table({"a": 1, "b": 0, "c": 1, "d": 0}), "short": Table({"a": 0.5, "b": 1, "c": 0, "d": 0})}
    scores = weighted(parts, weights={"right": 2.0, "short": -1.0}).score(ROLLOUTS)
    assert [score.value for score in scores] == [1.5, -1.0, 2.0, 0.0]  # 2·1-0.5, 0-1, 2·1-0, 0
    assert [score.correct for score in scores] == [True, False, True, False]
    assert scores[0].parts == {"right": 1.0, "short": 0.5}
    assert all(score.failure is None for score in scores)
    assert parts["right"].calls == parts["short"].calls == 1  # a part sees the batch, once


def test_a_sum_past_every_double_is_a_failure():
    parts = {"right": Table({"a": 1e308, "b": 1, "c": -1e308, "d": 0})}
    scores = weighted(parts, weights={"right": 10.0}).score(ROLLOUTS)
    assert [score.value for score in scores] == [None, 10.0, None, 0.0]
    assert scores[0].failure == "the weighted sum: inf instead of a number"


def test_weight_zero_logs_only():
    parts = {"right": Table(dict.fromkeys("abcd", 1)), "form": Table({"a": 1, "b": 0, "c": 1, "d": 0})}
    scores = weighted(parts, weights={"right": 1.0, "form": 0.0}).score(ROLLOUTS)
    assert [score.value for score in scores] == [1.0] * 4
    assert [score.parts["form"] for score in scores] == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(("at", "correct"), [(0.5, [False, True, True, True]), (1.0, [False, False, False, True])])
def test_correct_is_reaching_success_at(at, correct):
    scores = weighted({"p": Table({"a": 0.4, "b": 0.5, "c": 0.9, "d": 1.0})}, success_at=at).score(ROLLOUTS)
    assert [score.correct for score in scores] == correct


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (float("nan"), "odd: nan instead of a number"),
        (math.inf, "odd: inf instead of a number"),
        (None, "odd: NoneType instead of a number"),
        ("high", "odd: str instead of a number"),
        (OSError("disk"), "odd: OSError: disk"),
    ],
)
def test_only_the_culprit_fails_and_says_why(broken, reason):
    parts = {"fine": Table(dict.fromkeys("abcd", 1)), "odd": Breaks({"a": 1, "b": broken, "c": 0, "d": 1})}
    scores = weighted(parts).score(ROLLOUTS)
    assert [score.value for score in scores] == [2.0, None, 1.0, 2.0]
    assert scores[1].failure == reason
    assert scores[1].correct is None
    assert scores[1].parts == {"fine": 1.0}
    assert ROLLOUTS[1].with_score(scores[1]).failed


def test_a_bad_rollout_is_not_a_failed_one():
    (score,) = weighted({"right": Table({"a": 0.0})}).score(ROLLOUTS[:1])
    assert (score.value, score.correct, score.failure) == (0.0, False, None)


def test_the_wrong_number_of_values_is_asked_again_one_by_one():
    scores = weighted({"p": Forgets()}).score(ROLLOUTS)
    assert [score.value for score in scores] == [1.0, 1.0, 1.0, None]
    assert scores[3].failure == "p: ValueError: 0 values for 1 rollouts"


def test_too_many_failures_stop_with_the_reasons_counted():
    values = {"a": OSError("disk"), "b": OSError("disk"), "c": None, "d": 1}
    with pytest.raises(RuntimeError) as error:
        weighted({"p": Breaks(values)}, max_failure_rate=0.5).score(ROLLOUTS)
    assert "failed on 3 of 4 rollouts (2 x p: OSError: disk, 1 x p: NoneType instead of a number)" in str(error.value)
    scores = weighted({"p": Breaks(values)}, max_failure_rate=0.75).score(ROLLOUTS)  # at the rate is not above it
    assert [score.value for score in scores] == [None, None, None, 1.0]


def test_nothing_to_score():
    assert weighted({"p": Table({})}, max_failure_rate=0.0).score([]) == []


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, None, float("nan")]), max_size=12), st.floats(0, 1))
def test_failed_exactly_where_there_is_no_number(values, rate):
    texts = [str(index) for index in range(len(values))]
    reward = weighted({"p": Table(dict(zip(texts, values, strict=True)))}, max_failure_rate=rate)
    numbers = [value is not None and not math.isnan(value) for value in values]
    if values and numbers.count(False) > rate * len(values):
        with pytest.raises(RuntimeError):
            reward.score([rollout(text) for text in texts])
    else:
        scores = reward.score([rollout(text) for text in texts])
        assert [score.value is not None for score in scores] == numbers


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"weights": {"right": 1, "from": 1}}, r"weights.from=1: no such part; did you mean 'form'"),
        ({"weights": {"right": 1}}, r"parts.form: it has no weight"),
        ({"success_part": "wrong"}, r"success_part=wrong: no such part"),
    ],
)
def test_names_that_do_not_fit(changes, why):
    part = Table({})
    values = {"parts": {"right": part, "form": part}, "weights": {"right": 1, "form": 0}, "success_part": "right"}
    with pytest.raises(ValueError, match=why):
        Weighted(**{**values, **changes}, success_at=1.0, max_failure_rate=0.0)


def test_faults_of_all_parts_are_collected():
    class Picky(Table):
        def faults(self, tasks):
            return [f"{len(tasks)} tasks are odd"]

    reward = weighted({"plain": Table({}), "picky": Picky({})})
    assert reward.faults([rollout("a").task]) == ["reward.parts.picky: 1 tasks are odd"]

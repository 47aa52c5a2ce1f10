"""The pool holds what was solved but is not mastered, and is a function of what was folded into it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.guidance.pool import Outcome, Pool, Row

N = 4


def outcome(task: str, solved: int, *digests: int) -> Outcome:
    return Outcome(task, solved, 7, [Row(digest, 3, "end") for digest in digests])


def numbers(pool: Pool) -> dict[str, list[int]]:
    return {task: list(question.numbers.values()) for task, question in pool.questions.items()}


def test_the_latest_success_is_the_bucket():
    pool = Pool(N, None, None)
    pool.fold(1, [outcome("a", 1, 11), outcome("b", 1, 21)])
    pool.fold(2, [outcome("a", 3, 12, 13), outcome("c", 2, 31)])
    assert pool.buckets == {1: ["b"], 2: ["c"], 3: ["a"]}
    assert numbers(pool) == {"a": [0, 2, 3], "b": [1], "c": [4]}
    assert (pool.trajectories, pool.stored) == (5, 5)
    assert pool.holds("a", 13)
    assert not pool.holds("a", 21)
    assert not pool.holds("d", 11)


def test_what_is_mastered_leaves_for_good():
    pool = Pool(N, None, None)
    pool.fold(1, [outcome("a", 2, 11, 12), outcome("b", 3, 21)])
    pool.fold(2, [outcome("a", N)])
    assert (pool.retired, pool.trajectories, numbers(pool)) == ({"a"}, 1, {"b": [2]})
    pool.fold(3, [outcome("a", 1, 13)])
    assert numbers(pool) == {"b": [2]}
    pool.fold(4, [outcome("b", 3, 22)])
    assert numbers(pool) == {"b": [2, 4]}, "numbers count what was stored, also where nobody keeps it"


def test_a_question_needs_a_trajectory():
    pool = Pool(N, None, None)
    pool.fold(1, [outcome("a", 2)])
    assert pool.questions == {}
    pool.fold(2, [outcome("a", 2, 11)])
    pool.fold(3, [outcome("a", 1)])
    assert pool.buckets == {1: ["a"], 2: [], 3: []}, "an old trajectory, and what is known of the question since"


def test_the_oldest_are_forgotten_beyond_a_number():
    pool = Pool(N, 3, None)
    pool.fold(1, [outcome("a", 1, 11), outcome("b", 2, 21, 22)])
    pool.fold(2, [outcome("c", 1, 31), outcome("b", 1, 23)])
    assert numbers(pool) == {"b": [2, 4], "c": [3]}
    assert pool.buckets == {1: ["b", "c"], 2: [], 3: []} or pool.buckets == {1: ["c", "b"], 2: [], 3: []}
    pool.fold(3, [outcome("b", N)])
    pool.fold(4, [outcome("d", 1, 41), outcome("e", 1, 51), outcome("f", 1, 61)])
    assert numbers(pool) == {"d": [5], "e": [6], "f": [7]}, "those of a retired question take no room"


def test_the_old_are_forgotten():
    pool = Pool(N, None, 2)
    pool.fold(1, [outcome("a", 1, 11)])
    pool.fold(2, [outcome("a", 1, 12), outcome("b", 1, 21)])
    pool.expire(3)
    assert numbers(pool) == {"a": [0, 1], "b": [2]}
    pool.expire(4)
    assert numbers(pool) == {"a": [1], "b": [2]}
    pool.fold(9, [outcome("a", 1, 11)])
    assert numbers(pool) == {"a": [3]}


def test_parts_are_by_when_a_question_entered():
    pool = Pool(N, None, None)
    pool.fold(1, [outcome("c", 1, 1), outcome("a", 2, 2), outcome("b", 1, 3)])
    pool.fold(2, [outcome("c", 2, 4), outcome("d", 3, 5)])
    assert pool.in_order(slice(2)) == {2: ["c", "a"]}
    assert pool.in_order(slice(2, 4)) == {1: ["b"], 3: ["d"]}


STEPS = st.lists(
    st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, N), st.integers(0, 2)), max_size=4), max_size=12
)


def folded(steps, limits, upto=None, expire=True):
    """A pool as a run makes it, which looks for old ones in each step, also where there is nothing to fold."""
    pool, digest = Pool(N, *limits), 0
    for step, listed in enumerate(steps[:upto], 1):
        if expire:
            pool.expire(step)
        outcomes = []
        for task, solved, rows in listed:
            outcomes.append(outcome(task, solved, *range(digest, digest + rows * (solved < N))))
            digest += rows
        if outcomes:
            pool.fold(step, outcomes)
    pool.expire(len(steps[:upto]))
    return pool


@given(STEPS, st.sampled_from([(None, None), (3, None), (None, 2), (4, 3)]))
def test_what_holds_of_every_pool(steps, limits):
    pool = folded(steps, limits)
    for solved, bucket in pool.buckets.items():
        assert [(pool.questions[task].solved, pool.questions[task].place) for task in bucket] == [
            (solved, place) for place in range(len(bucket))
        ]
    assert sorted(task for bucket in pool.buckets.values() for task in bucket) == sorted(pool.questions)
    assert not pool.retired & set(pool.questions)
    held = [number for some in numbers(pool).values() for number in some]
    assert len(set(held)) == len(held) == pool.trajectories
    assert all(question.numbers for question in pool.questions.values())
    assert limits[0] is None or pool.trajectories <= limits[0]


@given(STEPS, st.sampled_from([(None, None), (3, None), (None, 2), (4, 3)]))
def test_folding_the_records_alone_gives_the_same_pool(steps, limits):
    run, again = folded(steps, limits), folded(steps, limits, expire=False)
    assert (run.questions, run.buckets, run.retired) == (again.questions, again.buckets, again.retired)


@pytest.mark.parametrize("limits", [(None, None), (1, 1)])
def test_an_empty_pool(limits):
    pool = Pool(N, *limits)
    pool.expire(5)
    pool.fold(6, [])
    assert pool.trajectories == 0

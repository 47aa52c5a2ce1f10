"""No question is trained on and held out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmft.dataset.questions import question
from llmft.dataset.splits import apart, carve
from llmft.types import Task


@given(st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=3, max_size=3))
def test_no_question_is_in_two_splits(numbers):
    names = ("train", "heldout", "test")
    splits = {
        name: [Task(f"{name}-{n}", ({"role": "user", "content": f" Is it  {n}? "},), "math") for n in some]
        for name, some in zip(names, numbers, strict=True)
    }
    kept = {name: {question(task) for task in tasks} for name, tasks in apart(splits).items()}
    assert not kept["train"] & kept["heldout"]
    assert not kept["train"] & kept["test"]
    assert not kept["heldout"] & kept["test"]
    everything = {question(task) for tasks in splits.values() for task in tasks}
    assert kept["train"] | kept["heldout"] | kept["test"] == everything


@given(count=st.integers(0, 30), seed=st.integers(0, 9))
def test_a_carved_task_is_in_one_of_two_lists_that_keep_their_order(count, seed):
    tasks = [Task(str(n), (), "math") for n in range(20)]
    held, left = carve(tasks, count, seed)
    assert len(held) == min(count, 20)
    assert sorted(held + left, key=tasks.index) == tasks
    assert [sorted(some, key=tasks.index) for some in (held, left)] == [held, left]

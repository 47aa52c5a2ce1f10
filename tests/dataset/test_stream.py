"""The stream of tasks: epochs are permutations, the position is the whole state, ranks share one draw."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmft.dataset import stream
from llmft.dataset.stream import TaskStream
from llmft.seeds import Seeds
from llmft.types import Task


def make(count: int) -> list[Task]:
    return [Task(str(index), ({"role": "user", "content": str(index)},), "math") for index in range(count)]


def ids(drawn) -> list[str]:
    return [one.task.id for one in drawn]


counts = st.integers(1, 40)
seeds = st.integers(0, 2**32)
takes = st.lists(st.integers(0, 30), max_size=8)


@given(count=counts, seed=seeds, epochs=st.integers(1, 4))
def test_each_epoch_is_a_permutation(count, seed, epochs):
    tasks = TaskStream(make(count), Seeds(seed))
    for _ in range(epochs):
        assert sorted(ids(tasks.take(count)), key=int) == [str(index) for index in range(count)]


@given(count=counts, seed=seeds, sizes=takes)
def test_positions_count_every_task_and_how_it_is_taken_changes_nothing(count, seed, sizes):
    one, many = TaskStream(make(count), Seeds(seed)), TaskStream(make(count), Seeds(seed))
    drawn = [pair for size in sizes for pair in many.take(size)]
    assert [pair.position for pair in drawn] == list(range(sum(sizes)))
    assert ids(drawn) == ids(one.take(sum(sizes)))


@given(count=counts, seed=seeds, before=st.integers(0, 90), after=st.integers(1, 50))
def test_a_resumed_stream_goes_on_as_an_uninterrupted_one(count, seed, before, after):
    whole = TaskStream(make(count), Seeds(seed))
    whole.take(before)
    resumed = TaskStream(make(count), Seeds(seed))
    resumed.load_state_dict(whole.state_dict())
    assert resumed.take(after) == whole.take(after)


@settings(max_examples=50)
@given(count=counts, seed=seeds, sizes=takes, world=st.integers(1, 5))
def test_the_ranks_together_draw_what_one_process_draws(count, seed, sizes, world):
    alone = TaskStream(make(count), Seeds(seed))
    ranks = [TaskStream(make(count), Seeds(seed)) for _ in range(world)]
    with pytest.MonkeyPatch.context() as patch:
        for size in sizes:
            patch.undo()
            expected = alone.take(size)
            together = []
            patch.setattr(stream, "world_size", lambda: world)
            for index, tasks in enumerate(ranks):
                patch.setattr(stream, "rank", lambda index=index: index)
                mine = tasks.take(size)
                assert all(one.position % world == index for one in mine)
                together += mine
            assert sorted(together, key=lambda one: one.position) == expected


def test_seeds_and_epochs_have_orders_of_their_own():
    first, second = TaskStream(make(40), Seeds(1)), TaskStream(make(40), Seeds(2))
    epoch = ids(first.take(40))
    assert epoch != ids(second.take(40))
    assert epoch != ids(first.take(40))


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="train split is empty"):
        TaskStream([], Seeds(0))


def test_the_state_of_other_data_is_refused():
    state = TaskStream(make(3), Seeds(0)).state_dict()
    with pytest.raises(ValueError, match="4 training tasks, but the checkpoint was made with 3"):
        TaskStream(make(4), Seeds(0)).load_state_dict(state)

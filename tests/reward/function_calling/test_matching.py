"""The pairing that is worth most, against all pairings."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.reward.function_calling.matching import matched

tables = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda size: st.lists(
        st.lists(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]), min_size=size[1], max_size=size[1]),
        min_size=size[0],
        max_size=size[0],
    )
)


@given(tables)
def test_it_is_the_best_of_all(worth):
    short = worth if len(worth) <= len(worth[0]) else list(zip(*worth, strict=True))
    rows, columns = range(len(short)), range(len(short[0]))
    best = max(sum(short[row][order[row]] for row in rows) for order in permutations(columns, len(rows)))
    assert matched(worth) == pytest.approx(best, abs=1e-12)


def test_the_first_that_fits_is_not_always_meant():
    assert matched([[1.0, 0.9], [0.9, 0.0]]) == 1.8  # greedily 1.0
    assert matched([]) == matched([[]]) == 0.0


def test_many():
    count = 64
    worth = [[1.0 if column == (row * 7 + 3) % count else 0.99 for column in range(count)] for row in range(count)]
    assert matched(worth) == count

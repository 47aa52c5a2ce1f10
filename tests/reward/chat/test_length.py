"""The window: full marks inside, none far out, and no step anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import said

from llmft.reward.chat.length import Window, smooth

WINDOW = Window(shortest=10, longest=100, edge=0.5)


def value(words: int) -> float:
    (found,) = WINDOW([said("word " * words)])
    return found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (0, 0.0),
        (5, 0.0),  # 10 * (1 - 0.5)
        (6, 0.104),  # a fifth of the way: 3/25 - 2/125
        (9, 0.896),  # four fifths: 48/25 - 128/125
        (10, 1.0),
        (55, 1.0),
        (100, 1.0),
        (125, 0.5),  # half of the way down
        (150, 0.0),  # 100 * (1 + 0.5)
        (5000, 0.0),
    ],
)
def test_by_words(words, expected):
    assert value(words) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 300))
def test_one_word_never_decides(words):
    assert 0.0 <= value(words) <= 1.0
    assert abs(value(words) - value(words + 1)) <= 0.3  # the steepest place of the shorter edge: 1.5 of a fifth


def test_thinking_is_not_counted():
    assert WINDOW([said("<think>" + "hm " * 500 + "</think>" + "word " * 20)]) == [1.0]


def test_an_edge_of_all_reaches_down_to_the_last_word():
    assert Window(shortest=4, longest=9, edge=1.0)([said("one"), said("")]) == [smooth(0.25), 0.0]


def test_a_window_the_wrong_way_round():
    with pytest.raises(ValueError, match="longest=5: it is less than shortest=9"):
        Window(shortest=9, longest=5, edge=0.5)

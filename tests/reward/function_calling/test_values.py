"""Accepted values: what counts as the same, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.reward.function_calling.values import first, fits, share_right


@pytest.mark.parametrize(
    ("said", "accepted", "same"),
    [
        ("Rome", "rome", True),
        ("April 1, 2024", "April 1 2024", True),
        ("new-york_city", "New York City", True),
        ("it's", 'it"s', True),
        ("a*b^c/d.e", "abcde", True),
        ("Rome", "Rom", False),
        ("Rome!", "Rome", False),  # no other sign
        ("", "", True),
        ("-", "", False),  # nothing but signs is itself alone
        ("-", "-", True),
        ("5", 5, False),
        (5, "5", False),
        (5, 5.0, True),
        (5.0, 5, True),
        (0.1, 0.1, True),
        (0.1, 0.11, False),
        (10**30, 10**30 + 1, False),
        (True, 1, False),
        (1, True, False),
        (1.0, True, False),
        (True, True, True),
        (False, True, False),
        (False, 0, False),
        ("true", True, False),
        (None, None, True),
        (None, "", False),
        (0, None, False),
        (["a", 1], ["A", 1.0], True),
        (["a"], ["a", "b"], False),
        (["b", "a"], ["a", "b"], False),  # in a list, the order counts
        ([True], [1], False),
        ([["a"], [2]], [["A"], [2]], True),
        ("a", ["a"], False),
        ({"w": 20}, {"w": [20, 21]}, True),
        ({"w": 22}, {"w": [20, 21]}, False),
        ({"w": 20, "h": 1}, {"w": [20]}, False),
        ({}, {"w": [20]}, False),
        ({}, {"w": [20, ""]}, True),  # may be left out
        ({"w": {"x": "A"}}, {"w": [{"x": ["a"]}]}, True),
        ({"w": {"x": "B"}}, {"w": [{"x": ["a"]}]}, False),
        ([{"w": 1}, {"w": 2}], [{"w": [1]}, {"w": [2]}], True),
        ([{"w": 2}, {"w": 1}], [{"w": [1]}, {"w": [2]}], False),
        ([], {"w": [""]}, False),
    ],
)
def test_what_is_the_same(said, accepted, same):
    assert fits(said, accepted) is same


@pytest.mark.parametrize(
    ("arguments", "share"),
    [
        ({"city": "Rome", "days": 3}, 1.0),
        ({"city": "roma", "days": 3, "unit": "C"}, 1.0),
        ({"city": "Rome", "days": 4}, 1 / 2),
        ({"city": "Rome"}, 1 / 2),
        ({"city": "Rome", "days": 3, "unit": "K"}, 2 / 3),
        ({"city": "Rome", "days": 3, "hour": 1}, 2 / 3),
        ({"hour": 1}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_share_of_arguments_that_are_right(arguments, share):
    accepted = {"city": ["Rome", "Roma"], "days": [3], "unit": ["C", ""]}
    assert share_right(arguments, accepted) == pytest.approx(share, abs=1e-12)


def test_no_arguments():
    assert share_right({}, {}) == 1.0
    assert share_right({}, {"unit": ["", "C"]}) == 1.0
    assert share_right({"x": 1}, {}) == 0.0


def test_the_first_accepted_value():
    assert first({"w": [20, 21], "h": ["", 3], "in": [{"a": ["x"]}]}) == {"w": 20, "in": {"a": "x"}}
    assert first([{"w": [1]}, "a"]) == [{"w": 1}, "a"]


keys = st.text("abc", min_size=1, max_size=2)
accepted = st.recursive(
    st.booleans() | st.integers() | st.text(min_size=1, max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(keys, st.lists(inside, min_size=1, max_size=2)),
    max_leaves=8,
)


@given(accepted)
def test_what_is_first_fits(value):
    assert fits(first(value), value)

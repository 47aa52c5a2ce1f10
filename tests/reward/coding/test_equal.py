"""What is equal to what was expected."""

from __future__ import annotations

import pytest

from llmft.reward.coding.equal import as_asserted, same_output, strictly

NAN = float("nan")
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "expected", "asserted", "strict"),
    [
        (1, 1, True, True),
        (1, 1.0, True, True),
        (True, 1, True, False),
        (0, False, True, False),
        (True, True, True, True),
        (None, None, True, True),
        (None, False, False, False),
        (NAN, NAN, False, True),
        ([NAN, 1], [NAN, 1], True, True),  # lists ask for identity first
        ([float("nan")], [NAN], False, True),
        (NAN, 1.0, False, False),
        ("1", 1, False, False),
        (b"a", "a", False, False),
        (b"a", bytearray(b"a"), True, False),
        ([1, 2], [1, 2], True, True),
        ([1, 2], [1, 2, 3], False, False),
        ([1, 2, 3], [1, 2], False, False),
        ([], [1], False, False),
        ((1, 2), [1, 2], False, True),  # JSON has no tuples
        ([1, 2], (1, 2), False, False),
        ([(1, 2)], [[1, 2]], False, True),
        ([[1, True]], [[1, 1]], True, False),
        ("ab", ["a", "b"], False, False),
        ({"a": 1}, {"a": 1}, True, True),
        ({"a": True}, {"a": 1}, True, False),
        ({1: 2}, {"1": 2}, False, False),
        ({True: 2}, {1: 2}, True, False),
        ({"a": 1, "b": 2}, {"a": 1}, False, False),
        ({"a": 1}, {"a": 1, "b": 2}, False, False),
        ({1, 2}, {2, 1}, True, True),
        ({1}, frozenset({1}), True, True),
        ({True}, {1}, True, False),
        ({1, 2}, {1}, False, False),
        ([1], {1}, False, False),
        (1 << 70, 1 << 70, True, True),
        (2 + 0j, 2, True, True),
        (range(2), [0, 1], False, False),
        ("a", "a", True, True),
        ("a ", "a", False, False),
    ],
)
def test_values(value, expected, asserted, strict):
    assert (as_asserted(value, expected), strictly(value, expected)) == (asserted, strict)


def test_what_is_nested_deeper_than_can_be_compared_is_not_equal():
    other: list = []
    for _ in range(100_000):
        other = [other]
    assert not as_asserted(other, DEEP)
    assert not strictly(other, DEEP)


@pytest.mark.parametrize(
    ("written", "expected", "same"),
    [
        ("1\n2\n3\n", "1\n2\n3", True),
        ("1 \n2\t\r\n3\n\n \n", "1\n2\n3\n", True),
        ("1\n", "1\n2\n3", False),  # the first of three lines
        ("1\n2\n3\nand more", "1\n2\n3", False),
        ("", "1", False),
        ("1", "", False),
        ("\n", "", True),
        ("\n1", "1", False),
        (" 1", "1", False),
        ("1\n\n2", "1\n2", False),
        ("1 2", "1  2", False),
        ("1.0", "1", False),
        ("a", "A", False),
    ],
)
def test_outputs(written, expected, same):
    assert same_output(written, expected) is same

"""Is what a program gave what was expected? Asked of plain data, in the process that is trusted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

NUMBERS = (int, float, complex)


def as_asserted(value: Any, expected: Any) -> bool:
    """As ``assert value == expected`` has it: True is 1 and nan is nothing."""
    try:
        return bool(value == expected)
    except RecursionError:
        return False


def strictly(value: Any, expected: Any) -> bool:
    """The same in structure and types. True is not 1, but 1 is 1.0; nan is nan.

    An expected list is met by a tuple too: JSON, in which most data is written, has no tuples.
    """
    try:
        return _strictly(value, expected)
    except RecursionError:
        return False


def same_output(written: str, expected: str) -> bool:
    """The whole outputs, line by line, but for blanks at the ends of lines and blank lines at the end."""
    return _lines(written) == _lines(expected)


def _strictly(value: Any, expected: Any) -> bool:
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    if type(value) in NUMBERS and type(expected) in NUMBERS:
        return value == expected or (value != value and expected != expected)
    if type(expected) in (list, tuple):
        fitting = type(value) in (type(expected), tuple)
        return fitting and len(value) == len(expected) and all(map(_strictly, value, expected))
    if type(expected) is dict:
        return (
            type(value) is dict
            and _same(value, expected)
            and all(_strictly(value[key], expected[key]) for key in expected)
        )
    if type(expected) in (set, frozenset):
        return type(value) in (set, frozenset) and _same(value, expected)
    return type(value) is type(expected) and value == expected


def _same(keys: Collection[Any], expected: Collection[Any]) -> bool:
    """Keys or members: the same ones, strictly."""
    own = {key: key for key in keys}
    return len(own) == len(expected) and all(key in own and _strictly(own[key], key) for key in expected)


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines

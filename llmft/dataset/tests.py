"""The tests of a program that stand in a row: assertions, calls with their values, inputs with their outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmft.dataset import cells
from llmft.dataset.cells import Unusable
from llmft.dataset.files import Row
from llmft.types import Check

KEYS = {"call", "expected", "stdin", "stdout"}


def tests(row: Row, column: str) -> tuple[Check, ...]:
    """The tests in a column: one or a list, or that as JSON text; null for none.

    A test is Python with assertions, ``{"call": "f(1)", "expected": 2}`` or ``{"stdin": "1\\n", "stdout": "2\\n"}``.

    Raises:
        Unusable: for anything else.
    """
    held = cells.optional(row, column)
    if isinstance(held, str):
        held = _from_json(held)
    if held is None:
        return ()
    listed = held if isinstance(held, list) else [held]
    return tuple(_check(one, f"{column}[{index}]") for index, one in enumerate(listed))


def _from_json(text: str) -> Any:
    """A list or object that is written as JSON; any other text is Python."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _check(held: Any, where: str) -> Check:
    if isinstance(held, str) and held.strip():
        return Check("asserts", held)
    if not isinstance(held, Mapping):
        raise Unusable(f"{where!r} is no test: {_ways()}")
    given = {key: value for key, value in held.items() if value is not None or key == "expected"}  # a table has nulls
    if unknown := given.keys() - KEYS:
        raise Unusable(f"{where!r} has {sorted(map(str, unknown))[0]!r}: {_ways()}")
    if given.keys() - {"expected"} == {"stdin", "stdout"} and given.get("expected") is None:
        return Check("stdio", _text(given, "stdin", where), _text(given, "stdout", where))
    if given.keys() == {"call", "expected"}:
        return Check("call", _text(given, "call", where), given["expected"])
    raise Unusable(f"{where!r} has {', '.join(sorted(given)) or 'nothing'}: {_ways()}")


def _text(held: Mapping[str, Any], key: str, where: str) -> str:
    if not isinstance(held[key], str):
        raise Unusable(f"{where!r} has a {key} that is no text")
    return held[key]


def _ways() -> str:
    return "give a text with assertions, call and expected, or stdin and stdout"

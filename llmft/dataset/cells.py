"""What stands in a row's columns, as questions, answers and traces; a path such as ``reward_model.ground_truth`` goes
into nested ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmft.dataset.files import Row
from llmft.types import Trace


class Unusable(Exception):
    """A row cannot become a task."""


def value(row: Row, column: str) -> Any:
    """What stands there. Raises Unusable if the row has no such column."""
    if column in row.values:
        return row.values[column]
    found: Any = row.values
    for key in column.split("."):
        if not isinstance(found, dict) or key not in found:
            raise Unusable(f"it has no {column!r}")
        found = found[key]
    return found


def text(row: Row, column: str) -> str:
    """The column as text. Raises Unusable for what is none, or empty."""
    return _text(value(row, column), column)


def chat(row: Row, column: str) -> tuple[list[dict[str, Any]], str | None]:
    """The turns of a prompt, and the response where the chat ends in one. Raises Unusable for what is no chat."""
    turns = _turns(value(row, column), column)
    trace = str(turns.pop()["content"]) if turns[-1]["role"] == "assistant" else None
    if not turns or not str(turns[-1]["content"]).strip():
        raise Unusable(f"{column!r} has no question before its response")
    return turns, trace


def traces(row: Row, column: str, probs_column: str | None = None) -> list[Trace]:
    """The traces in a column: a text, a chat whose first turn by the assistant it is, or a list of such; or null.

    Who wrote them is what the column is nested in (``6b_finetuning`` of ``6b_finetuning.solution``). ``probs_column``
    holds the probability of each token of the column's only trace, or null.

    Raises:
        Unusable: for a trace that is empty or none of these.
    """
    held = optional(row, column)
    if held is None:
        return []
    several = isinstance(held, list) and not _is_chat(held)
    if several and not held:
        raise Unusable(f"{column!r} is empty")
    source = column.split(".")[0] if "." in column and column not in row.values else "data"
    probs = _probs(row, probs_column) if probs_column else None
    if probs and several:
        raise Unusable(f"{probs_column!r} is of one trace, and {column!r} has several")
    return [Trace(_written(one, column), source, probs) for one in (held if several else [held]) if one is not None]


def optional(row: Row, column: str) -> Any:
    """What stands there, or None where the row has no such column."""
    try:
        return value(row, column)
    except Unusable:
        return None


def _written(held: Any, column: str) -> str:
    if not isinstance(held, list):
        return _text(held, column)
    found = [turn["content"] for turn in _turns(held, column) if turn["role"] == "assistant"]
    if not found:
        raise Unusable(f"{column!r} has no turn by the assistant")
    return _text(found[0], column)


def _probs(row: Row, column: str) -> tuple[float, ...] | None:
    held = optional(row, column)
    if held is None:
        return None
    if not isinstance(held, list) or any(isinstance(one, bool) or not isinstance(one, int | float) for one in held):
        raise Unusable(f"{column!r} is not a list of numbers")
    return tuple(map(float, held))


def _text(held: Any, column: str) -> str:
    if isinstance(held, bool) or not isinstance(held, str | int | float):
        raise Unusable(f"{column!r} is {'empty' if held is None else type(held).__name__ + ', not text'}")
    if not str(held).strip():
        raise Unusable(f"{column!r} is empty")
    return str(held)


def _turns(held: Any, column: str) -> list[dict[str, Any]]:
    if not isinstance(held, list) or not held:
        raise Unusable(f"{column!r} is not a list of turns")
    if not _is_chat(held):
        raise Unusable(f"{column!r} has a turn without role and content")
    return [dict(turn) for turn in held]


def _is_chat(held: Sequence[Any]) -> bool:
    return bool(held) and all(_is_turn(turn) for turn in held)


def _is_turn(held: Any) -> bool:
    return isinstance(held, Mapping) and bool(held.get("role")) and isinstance(held.get("content"), str)

"""What a response's calls are worth to its task, the marks of all parts at once: it is read once, whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from llmft.reward.function_calling.asked import Asked
from llmft.reward.function_calling.calls import Call, find_calls
from llmft.reward.function_calling.matching import matched
from llmft.reward.function_calling.values import share_right
from llmft.types import Rollout, Task


@dataclass(frozen=True, slots=True)
class Grade:
    """Each from 0 to 1, but ``json``, which is 1 or -1."""

    json: float = -1.0  # can what was said be read?
    structure: float = 0.0  # share of calls with a name and named arguments
    tool: float = 0.0  # share of calls of a tool that is offered
    schema: float = 0.0  # share of calls whose arguments satisfy the tool's schema
    values: float = 0.0  # share of arguments with an accepted value, over the calls that were asked for
    correct: float = 0.0  # 1 where all of these are 1


NOTHING = Grade()
ALL = Grade(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def grade(asked: Asked, text: str) -> Grade:
    """The marks of a response. Shares are of the calls asked for or written, whichever are more: one too many costs."""
    found = find_calls(text, asked.tools)
    if asked.no_call:
        called = found.broken or any(call.arguments is not None or call.name in asked.tools for call in found.calls)
        return NOTHING if called else ALL
    if not (found.calls or found.other):  # none, or a broken one
        return NOTHING
    calls, expected = found.calls, len(found.calls) if asked.answer is None else len(asked.answer)
    most = max(len(calls), expected, 1)

    def share(passed: Sequence[bool]) -> float:
        return min(sum(passed), expected) / most

    structure = share([call.name is not None and call.arguments is not None for call in calls])
    tool = share([call.name in asked.tools for call in calls])
    schema = share([_accepted(asked, call) for call in calls])
    values = schema if asked.answer is None else _right(asked.answer, calls) / most
    return Grade(1.0, structure, tool, schema, values, float(structure == tool == schema == values == 1.0))


def grades(rollouts: Sequence[Rollout]) -> list[Grade]:
    """The marks of each. Raises ValueError for a task that no response can be held against."""
    return [_grade(_Same(rollout.task), rollout.text) for rollout in rollouts]


def asked_of(task: Task) -> Asked:
    """What a task asks, read once. Raises ValueError, see `Asked`."""
    return _asked(_Same(task))


class _Same:
    """A task that equals itself alone: tasks hold dicts and have no hash."""

    __slots__ = ("task",)

    def __init__(self, task: Task) -> None:
        self.task = task

    def __hash__(self) -> int:
        return id(self.task)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.task is self.task


@lru_cache(maxsize=4096)
def _asked(same: _Same) -> Asked:
    return Asked(same.task)


@lru_cache(maxsize=4096)
def _grade(same: _Same, text: str) -> Grade:
    return grade(_asked(same), text)


def _accepted(asked: Asked, call: Call) -> bool:
    tool = asked.tools.get(call.name or "")
    return tool is not None and call.arguments is not None and tool.accepts(call.arguments)


def _right(answer: Sequence[tuple[str, Any]], calls: Sequence[Call]) -> float:
    """How many of the calls asked for are there: each with the share of its arguments that are right."""
    worth = [
        [
            share_right(call.arguments, accepted) if call.name == name and call.arguments is not None else 0.0
            for call in calls
        ]
        for name, accepted in answer
    ]
    return matched(worth)

"""The parts of ``reward=function_calling``: what the original framework graded (valid JSON, structure, known tool), the
arguments by schema and by value, and whether all of it is right.

Where no call is right, every part gives its most to a response without one and its least to any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from llmft.reward.function_calling.grade import asked_of, grades
from llmft.types import Rollout, Task

SHOWN = 5  # faults


class ValidJson:
    """1 where the response has calls, or else JSON, all of which can be read; -1 where it has none or a broken one."""

    minimum = -1.0
    maximum = 1.0
    bounded = True

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [grade.json for grade in grades(rollouts)]


class Structure:
    """The share of calls that have a name and named arguments."""

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [grade.structure for grade in grades(rollouts)]


class KnownTool:
    """The share of calls of a tool that the task offers."""

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [grade.tool for grade in grades(rollouts)]


class Schema:
    """The share of calls whose arguments satisfy their tool's schema."""

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [grade.schema for grade in grades(rollouts)]


class Values:
    """The share of arguments that have an accepted value, over the calls asked for, in any order; the share of `Schema`
    for a task that has no answer."""

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [grade.values for grade in grades(rollouts)]


class Correct:
    """1 where the calls are those asked for, no more and no fewer, with accepted values throughout; else 0.

    A task's answer is a JSON list of ``{"name": ..., "arguments": {argument: [accepted value, ...]}}``, where ``""``
    lets an argument be left out and ``[]`` says that no call is right. ``without_answer`` is what a task without one
    does: ``stop`` before the run, or be held against the ``schema`` of its tools alone.
    """

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __init__(self, *, without_answer: Literal["stop", "schema"]) -> None:
        self.without_answer = without_answer

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [grade.correct for grade in grades(rollouts)]

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """Tasks whose tools or answer cannot be used, each with the field."""
        found = [f"task {task.id!r}: {fault}" for task in tasks if (fault := self._fault(task))]
        more = [f"and {len(found) - SHOWN} more tasks"] if len(found) > SHOWN else []
        return found[:SHOWN] + more

    def gold(self, task: Task) -> str | None:
        """What scores full marks: the first trace, or the first accepted values written as a call."""
        return task.traces[0].text if task.traces else asked_of(task).gold()

    def _fault(self, task: Task) -> str | None:
        if task.answer is None and self.without_answer == "stop" and task.tools:
            return "answer: there is none; name dataset.answer_column, or set without_answer=schema"
        try:
            asked_of(task)
        except ValueError as error:
            return str(error)
        return None

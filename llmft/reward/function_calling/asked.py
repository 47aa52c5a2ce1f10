"""What a task asks for: the tools that it offers, and the calls that are right."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llmft.reward.function_calling.calls import BrokenError, strict_json
from llmft.reward.function_calling.schema import Tool
from llmft.reward.function_calling.values import Accepted, first
from llmft.types import Task


class Asked:
    """A task's tools by name, and its answer: calls with accepted values, none for "no call is right", or None where
    any call that satisfies a schema will do.

    Raises ValueError, naming the field, for what cannot be checked against.
    """

    def __init__(self, task: Task) -> None:
        if not task.tools:
            raise ValueError("tools: there are none; name dataset.tools_column")
        self.tools: dict[str, Tool] = {}
        for tool in map(_tool, task.tools):
            if tool.name in self.tools:
                raise ValueError(f"tools: two are named {tool.name!r}")
            self.tools[tool.name] = tool
        self.answer = None if task.answer is None else [self._call(one) for one in _listed(task.answer)]

    @property
    def no_call(self) -> bool:
        """Is it right to call nothing?"""
        return self.answer is not None and not self.answer

    def gold(self) -> str | None:
        """The first accepted value of every argument, written as JSON; None where any call will do."""
        if self.answer is None:
            return None
        calls = [{"name": name, "arguments": self._first(name, accepted)} for name, accepted in self.answer]
        if not calls:
            return "None of the functions fits."
        return json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)

    def _call(self, one: Any) -> tuple[str, Accepted]:
        if not isinstance(one, Mapping) or not isinstance(one.get("arguments"), Mapping) or "name" not in one:
            raise ValueError(f'answer: {str(one)[:60]!r} is no {{"name": ..., "arguments": {{argument: [accepted]}}}}')
        name, accepted = one["name"], one["arguments"]
        if name not in self.tools:
            raise ValueError(f"answer: it calls {name!r}, but the tools are {', '.join(self.tools)}")
        for argument, values in accepted.items():
            if not self.tools[name].knows(argument):
                raise ValueError(f"answer: {name!r} has no argument {argument!r} in its parameters")
            if fault := next(_unlisted(argument, values), None):
                raise ValueError(f"answer: {name!r}: {fault}")
        return name, accepted

    def _first(self, name: str, accepted: Accepted) -> dict[str, Any]:
        required = self.tools[name].parameters.get("required", ())
        return {
            argument: first(next((one for one in values if one != ""), ""))
            for argument, values in accepted.items()
            if values[0] != "" or argument in required
        }


def _tool(tool: Any) -> Tool:
    try:
        return Tool(tool)
    except ValueError as error:
        raise ValueError(f"tools: {error}") from None


def _listed(answer: str) -> list[Any]:
    try:
        calls = strict_json(answer)
    except BrokenError as error:
        raise ValueError(f"answer: {error}; it is to be a JSON list of calls, [] where none is right") from None
    if not isinstance(calls, list):
        raise ValueError(f"answer: a JSON {type(calls).__name__}, not a list of calls; [] where none is right")
    return calls


def _unlisted(argument: str, values: Any) -> Iterator[str]:
    """What of accepted values is no list of them."""
    if not isinstance(values, list) or not values:
        yield f"argument {argument!r}: {str(values)[:60]!r} is no list of accepted values; write [value]"
        return
    for value in values:
        for one in value if isinstance(value, list) else [value]:
            for key, inside in one.items() if isinstance(one, Mapping) else ():
                yield from _unlisted(f"{argument}.{key}", inside)

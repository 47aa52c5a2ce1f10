"""The function calls in a text, in whatever style a model was taught; nothing is ever executed.

Read are JSON objects and lists (``name`` with ``arguments`` or Llama's ``parameters``, OpenAI's ``{"function": {...}}``
with arguments as JSON text), bare, fenced or behind ``[TOOL_CALLS]`` and ``<|python_tag|>``; ``<tool_call>`` blocks;
and calls written as in Python, ``get_weather(city="Rome")``, alone, in a list or several. Prose may stand around them,
where a name alone is no call: ``f()``, ``f(x)``. What stands before ``</think>`` is thought, not said; thoughts have to
end. Where there are ``<tool_call>`` blocks, nothing else is a call.

JSON is read strictly: a key given twice, NaN, Infinity and numbers beyond a float, junk behind a value make a text
broken, and so does a beginning of a call that cannot be read. Limits keep every text cheap.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmft.reward.function_calling.python import python_call, python_calls

MAX_CHARS = 32_768  # of what is said, thoughts left out
MAX_CALLS = 64
MAX_MISSES = 64  # places that look like a call and are none
MAX_VALUES = 1_000  # in one call
MAX_DEPTH = 16  # of lists and objects in one call
MAX_DIGITS = 300  # a longer number is beyond a float

KEYS = r"name|function|arguments|parameters|tool_calls"
START = re.compile(r"""(?P<json>(?:\[\s*)?\{\s*["'])|(?P<name>(?<![\w.\-])[A-Za-z_][\w.\-]*)\(""")
BEGUN = re.compile(rf"""(?:\[\s*)?\{{\s*["'](?:(?:{KEYS})["']\s*:|type["']\s*:\s*["']function)""")
CLOSED_AGAIN = re.compile(r"\s*[\]}]")
KEYWORD = re.compile(r"\s*\w+\s*=[^=]")


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it was written; what it lacks is None."""

    name: str | None
    arguments: Mapping[str, Any] | None  # None too where arguments have no names


@dataclass(frozen=True, slots=True)
class Found:
    """What a text has of calls. A broken one counts for nothing, whatever else is in it."""

    calls: tuple[Call, ...] = ()
    other: bool = False  # is there a JSON object that is no call?
    broken: str | None = None  # why, if a call was begun that cannot be read


class BrokenError(Exception):
    """A call that was begun and cannot be read."""


def find_calls(text: str, names: Collection[str]) -> Found:
    """The calls in ``text``. ``names`` are the tools': in prose, ``f(x=1)`` is a call only of one of them."""
    said = text.rpartition("</think>")[2].strip()
    try:
        if "<think>" in said:
            raise BrokenError("thoughts without end")
        if len(said) > MAX_CHARS:
            raise BrokenError("too long")
        found = list(_blocks(said) if "<tool_call>" in said else _anywhere(said, names))
        calls = [call for call in found if call.name is not None or call.arguments is not None]
        if len(calls) > MAX_CALLS:
            raise BrokenError("too many calls")
        for call in calls:
            _require_small(call.arguments)
    except BrokenError as why:
        return Found(broken=str(why))
    return Found(tuple(calls), other=len(found) > len(calls))


def strict_json(text: str) -> Any:
    """The value that is the whole of ``text``. Raises BrokenError."""
    text = text.strip()
    value, end = _decoded(text, 0)
    if end != len(text):
        raise BrokenError("junk behind JSON")
    return value


def _blocks(said: str) -> Iterator[Call]:
    for piece in said.split("<tool_call>")[1:]:
        content, closed, _ = piece.partition("</tool_call>")
        if not closed:
            raise BrokenError("a <tool_call> that is not closed")
        if (calls := python_calls(content)) is not None:
            yield from (Call(*call) for call in calls)
            continue
        found = list(_calls(strict_json(content))) or [Call(None, None)]
        yield from (Call(None, {}) if call.name is None else call for call in found)  # all in a block is meant as calls


def _anywhere(said: str, names: Collection[str]) -> Iterator[Call]:
    if calls := python_calls(_unfenced(said)):
        yield from (Call(*call) for call in calls)
        return
    at = misses = 0
    while match := START.search(said, at):
        at = match.end()
        if match["json"]:
            found, at = _json_at(said, match.start())
        elif match["name"] in names:
            found, at = _python_at(said, match.start(), at)
        else:
            continue
        yield from found
        misses += not found
        if misses > MAX_MISSES:
            raise BrokenError("too much that looks like a call")


def _unfenced(said: str) -> str:
    """What is in a code block that is the whole of the text; the text itself where it is none."""
    inside = said.removesuffix("```")
    return inside.partition("\n")[2] if said.startswith("```") and inside != said else said


def _json_at(said: str, at: int) -> tuple[list[Call], int]:
    """The calls of the JSON that begins there, and where to read on."""
    try:
        value, end = _decoded(said, at)
    except BrokenError:
        if BEGUN.match(said, at):
            raise
        return [], at + 1
    calls = list(_calls(value))
    if any(call.name is not None for call in calls) and CLOSED_AGAIN.match(said, end):
        raise BrokenError("junk behind JSON")
    return calls, end


def _python_at(said: str, start: int, inside: int) -> tuple[list[Call], int]:
    """The call of a tool that begins there, unless its name is only spoken of: ``f()``, ``f(x)``."""
    call = python_call(said, start)
    if call is None:
        if KEYWORD.match(said, inside):
            raise BrokenError("arguments that are no literals")
        return [], inside
    name, arguments, end = call
    return ([] if arguments == {} else [Call(name, arguments)]), end


def _calls(value: Any) -> Iterator[Call]:
    """The calls that a JSON value is; an object that is none comes without name and arguments."""
    if isinstance(value, list):
        for one in value:
            yield from _calls(one)
        return
    if not isinstance(value, dict):
        return
    if isinstance(value.get("tool_calls"), list):
        yield from _calls(value["tool_calls"])
        return
    call = value["function"] if isinstance(value.get("function"), dict) else value
    name, given = call.get("name"), [call[key] for key in ("arguments", "parameters") if key in call]
    name = name if isinstance(name, str) else None
    if len(given) == 1 and isinstance(given[0], str):
        given = [strict_json(given[0])]
    named = len(given) == 1 and isinstance(given[0], dict)
    yield Call(name, given[0] if named and name is not None else None)


def _decoded(text: str, at: int) -> tuple[Any, int]:
    try:
        value, end = DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise BrokenError(f"not JSON: {str(error)[:60]}") from None
    _require_small(value)
    return value, end


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key given twice")
    return made


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number beyond a float")
    return number


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number beyond a float")
    return int(digits)


DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_int=_whole, parse_constant=_finite)


def _require_small(value: Any) -> None:
    """Raises BrokenError for values that would take long to check."""
    level, depth, count = [value], 0, 0
    while level:
        count += len(level)
        if depth > MAX_DEPTH or count > MAX_VALUES:
            raise BrokenError("arguments without end")
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level, depth = [one for several in inner for one in several], depth + 1

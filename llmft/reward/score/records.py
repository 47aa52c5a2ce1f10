"""Recorded responses: the lines of a file, each a task with what was written to it.

A line names its task (``task`` or ``id``, as a run's samples do), or stands by itself: ``prompt`` or ``messages``,
``response`` or several ``responses``, and what they are judged by, ``answer``, ``tests`` or ``tools``, with its ``kind``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from llmft.config import ConfigError, Fault
from llmft.config.faults import ABSENT
from llmft.types import Author, Check, Finish, Kind, Message

SHOWN = 10  # faults of a file that are told
JUDGED_BY = ("answer", "tests", "tools")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A score that the file has already."""

    value: float | None  # None: the machinery failed
    parts: Mapping[str, float]
    correct: bool | None


@dataclass(frozen=True, slots=True)
class Record:
    """One line."""

    where: str  # samples.jsonl:17
    id: str | None  # of its task
    messages: tuple[Message, ...]  # empty where only the task is named
    texts: tuple[str, ...]  # the responses
    finish: Finish
    kind: Kind | None
    judged_by: Mapping[str, Any]  # of JUDGED_BY what the line has
    pieces: tuple[tuple[Author, tuple[int, ...]], ...]  # the response's tokens by author, where they are recorded
    recorded: Recorded | None


def read(path: Path) -> tuple[list[Record], list[str]]:
    """The lines of a file, and what is to be said of it. Raises ConfigError with the lines that cannot be used."""
    records, faults, notes = list[Record](), list[Fault | str](), list[str]()
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            records.append(_record(where, json.loads(line)))
        except ConfigError as error:
            faults += error.faults
        except (ValueError, RecursionError) as error:
            if number == len(lines) and number > 1:  # no end of line: a run is writing it, or was killed
                notes.append(f"{where}: left out, only its beginning is there")
            else:
                faults.append(Fault(where, ABSENT, f"not JSON ({error})", "write one JSON object per line"))
    if not (records or faults):
        faults.append(Fault(str(path), ABSENT, "it has no lines", "name a file with responses"))
    if faults:
        more = [f"and {len(faults) - SHOWN} more such faults"] if len(faults) > SHOWN else []
        raise ConfigError([*faults[:SHOWN], *more])
    return records, notes


def _record(where: str, line: Any) -> Record:
    if not isinstance(line, dict):
        raise ConfigError([Fault(where, ABSENT, f"a JSON {type(line).__name__}", "write an object with columns")])
    row = _Row(where, line)
    id = row.value("task") if row.has("task") else row.value("id")
    record = Record(
        where=where,
        id=None if id is None else str(id),
        messages=row.messages(),
        texts=row.texts(),
        finish=row.choice("finish", get_args(Finish)) or "end",
        kind=row.choice("kind", get_args(Kind)),
        judged_by=row.judged_by(),
        pieces=row.pieces(),
        recorded=row.recorded(),
    )
    if row.faults:
        raise ConfigError(row.faults)
    return record


class _Row:
    """A line's columns, each looked at; what is wrong is gathered."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self.where, self.values, self.faults = where, values, list[Fault]()

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def value(self, name: str) -> Any:
        return self.values.get(name)

    def refuse(self, name: str, value: Any, why: str, advice: str) -> None:
        self.faults.append(Fault(f"{self.where} {name}", value, why, advice))

    def choice(self, name: str, choices: Sequence[str]) -> Any:
        value = self.value(name)
        if value is not None and value not in choices:
            self.refuse(name, value, "there is no such one", f"one of {', '.join(choices)}, or leave it out")
        return value

    def messages(self) -> tuple[Message, ...]:
        prompt, turns = self.value("prompt"), self.value("messages")
        if turns is not None:
            if isinstance(turns, list) and turns and all(isinstance(t, dict) and "role" in t for t in turns):
                return tuple(turns)
            self.refuse("messages", turns, "no chat", 'write a list of {"role": ..., "content": ...}')
        elif prompt is not None:
            if isinstance(prompt, str):
                return ({"role": "user", "content": prompt},)
            self.refuse("prompt", prompt, "no text", "write a string, or a chat as messages")
        elif not (self.has("task") or self.has("id")):
            self.refuse("prompt", ABSENT, "nothing says what was asked", "give prompt, messages or task")
        return ()

    def texts(self) -> tuple[str, ...]:
        names = [name for name in ("response", "responses") if self.has(name)]
        if len(names) != 1:
            why = "there are responses too" if names else "there is no response"
            self.refuse("response", ABSENT, why, "give a text as response, or a list of them as responses")
            return ()
        given = self.value(names[0])
        texts = given if names == ["responses"] else [given]
        if not (isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)):
            self.refuse(names[0], given, "no text", "write a string, or a list of strings as responses")
            return ()
        return tuple(text.encode("utf-8", "replace").decode() for text in texts)  # half a character is no text

    def judged_by(self) -> dict[str, Any]:
        found = {name: self.value(name) for name in JUDGED_BY if self.has(name)}
        answer, tests, tools = (found.get(name) for name in JUDGED_BY)
        if answer is not None:
            if isinstance(answer, bool) or not isinstance(answer, str | int | float):
                self.refuse("answer", answer, "no text", "write a string or a number")
            found["answer"] = str(answer)
        if tests is not None:
            found["tests"] = self.checks(tests)
        if tools is not None:
            if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
                self.refuse("tools", tools, "no list of functions", "write objects with name and parameters")
            else:
                found["tools"] = tuple(
                    tool if "function" in tool else {"type": "function", "function": tool} for tool in tools
                )
        return found

    def checks(self, tests: Any) -> tuple[Check, ...]:
        made = list[Check]()
        for test in tests if isinstance(tests, list) else [tests]:
            match test:
                case str():
                    made.append(Check("asserts", test))
                case {"call": str(call), "expected": expected, **more} if not more:
                    made.append(Check("call", call, expected))
                case {"stdin": str(given), "stdout": str(printed), **more} if not more:
                    made.append(Check("stdio", given, printed))
                case _:
                    advice = "write a text with assertions, call and expected, or stdin and stdout"
                    self.refuse("tests", test, "no test", advice)
        return tuple(made)

    def pieces(self) -> tuple[tuple[Author, tuple[int, ...]], ...]:
        try:
            return tuple((Author[one["author"].upper()], tuple(one["ids"])) for one in self.value("tokens") or ())
        except (TypeError, KeyError, AttributeError):
            self.refuse("tokens", self.value("tokens"), "not as a run writes them", "leave them out")
            return ()

    def recorded(self) -> Recorded | None:
        if "reward" not in self.values:
            return None
        value, parts, correct = self.value("reward"), self.value("parts") or {}, self.value("correct")
        if not (value is None or _is_number(value)):
            self.refuse("reward", value, "no number", "write a number, or null for a failure")
        if not isinstance(parts, dict) or not all(_is_number(one) for one in parts.values()):
            self.refuse("parts", parts, "no numbers by name", "leave them out")
            parts = {}
        if correct is not None and not isinstance(correct, bool):
            self.refuse("correct", correct, "no truth value", "write true, false or null")
        return Recorded(value, parts, correct)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def responses(records: Sequence[Record]) -> Iterator[tuple[Record, int]]:
    """Each response: its line, and its place among that line's."""
    for record in records:
        for place in range(len(record.texts)):
            yield record, place

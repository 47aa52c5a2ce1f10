"""Calls of tools that the prompt describes, and a writer that calls them wrongly.

The prompt lists tools and ends in a request, here for the first of them; the answer is the call in JSON:

    set_lamp(mode:str,size:int);get_door(code:str)
    mode=2 size=7: set lamp

    {"name":"set_lamp","arguments":{"mode":"2","size":7}}

An argument's type is told by the tool's description alone. Where no tool is what is asked for, the answer is ``none``.
Which split a question belongs to is told by the tool that is asked for, its name and parameters, and the other tools
are of the same split: no tool that is held out is ever seen in training. A sloppy writer takes another tool, mistakes a type,
leaves out an argument, or calls a tool that nobody asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, get_args

from llmft.dataset.lab.family import Family, Lab, split_of

# Words of one length and with an initial of their own, so that to look them up is all that there is to learn.
VERBS = ("add", "buy", "cut", "fix", "get", "hit", "map", "put", "run", "set", "try", "use")
NOUNS = ("bank", "card", "door", "exam", "file", "game", "host", "item", "kite", "lamp", "menu", "note", "oven", "page")
NOUNS = (*NOUNS, "quiz", "room", "song", "task", "unit", "vote", "wall", "yard", "zone")
PARAMETERS = ("area", "body", "code", "date", "edge", "form", "goal", "hour", "kind", "mode", "name", "path", "rank")
PARAMETERS = (*PARAMETERS, "size", "time", "view")
WORDS = ("big", "dry", "far", "hot", "icy", "low", "max", "new", "old", "red", "sad", "top")
SWITCH = {"yes": True, "no": False}
JSON_TYPES = {"str": "string", "int": "integer", "bool": "boolean"}
IRRELEVANT = 0.2  # share of the requests for one tool that none of the tools fits
NO_CALL = "none"

Type = Literal["str", "int", "bool"]
Parameters = tuple[tuple[str, Type], ...]
TYPES: tuple[Type, ...] = get_args(Type)
Call = dict[str, Any]  # {"name": ..., "arguments": {...}}


@dataclass(frozen=True, slots=True)
class Tool:
    """What can be called: ``set_lamp(mode:str,size:int)``."""

    name: str
    parameters: Parameters

    def __str__(self) -> str:
        return f"{self.name}({','.join(f'{name}:{of}' for name, of in self.parameters)})"

    @property
    def schema(self) -> Mapping[str, Any]:
        properties = {name: {"type": JSON_TYPES[of]} for name, of in self.parameters}
        parameters = {"type": "object", "properties": properties, "required": list(properties)}
        return {"name": self.name, "description": self.name.replace("_", " "), "parameters": parameters}

    def asked(self, values: tuple[str, ...]) -> str:
        """How it is asked for: ``mode=2 size=7: set lamp``."""
        given = (f"{name}={value}" for (name, _), value in zip(self.parameters, values, strict=True))
        return f"{' '.join(given)}: {self.name.replace('_', ' ')}"

    def call(self, values: tuple[str, ...]) -> Call:
        """The call with these values, as a request gives them."""
        given = zip(self.parameters, values, strict=False)
        return {"name": self.name, "arguments": {name: typed(of, value) for (name, of), value in given}}


@dataclass(frozen=True, slots=True)
class Request:
    """What ``asked`` tools are to do with ``values``, where ``offered`` tools can be called."""

    offered: tuple[Tool, ...]
    asked: tuple[Tool, ...]
    values: tuple[tuple[str, ...], ...]  # as they are written in the request, one tuple for each tool that is asked for

    @property
    def relevant(self) -> bool:
        return all(tool in self.offered for tool in self.asked)

    @property
    def key(self) -> str:
        """The tool that says where it belongs, and what is asked of what; other values make no other question."""
        asked = sorted(map(str, self.asked))
        without = "" if self.relevant else f" of {'+'.join(sorted(map(str, self.offered)))}"
        return f"{asked[0]}|{'+'.join(asked)}{without}"

    @property
    def answer(self) -> str:
        return written([tool.call(of) for tool, of in zip(self.asked, self.values, strict=True) if self.relevant])

    def prompt(self, rng: Random) -> str:
        asked = [tool.asked(values) for tool, values in zip(self.asked, self.values, strict=True)]
        return f"{';'.join(map(str, self.offered))}\n{', '.join(asked)}\n"

    def write(self, slip: float, rng: Random) -> tuple[str, str]:
        """No working, and the calls of a writer who slips at each tool and argument with probability ``slip``."""
        if self.relevant:
            asked = zip(self.asked, self.values, strict=True)
            return "", written([self.attempt(tool, values, slip, rng) for tool, values in asked])
        return "", written([rng.choice(self.offered).call(self.values[0])] if rng.random() < slip else [])

    def attempt(self, tool: Tool, values: tuple[str, ...], slip: float, rng: Random) -> Call:
        """A call in which another tool is taken, arguments are missing, and types are mistaken, each now and then."""
        right, arguments = tool.call(values), dict[str, Any]()
        for name, value in right["arguments"].items():
            if rng.random() >= slip:
                arguments[name] = value
            elif rng.random() < 0.5:
                arguments[name] = mistyped(value)
        others = [other.name for other in self.offered if other != tool]
        return {"name": rng.choice(others) if rng.random() < slip else tool.name, "arguments": arguments}

    def brings(self) -> Mapping[str, Any]:
        """What the task's reward needs: the tools' schemas, and for each call the values that are accepted."""
        calls = [tool.call(of) for tool, of in zip(self.asked, self.values, strict=True) if self.relevant]
        for call in calls:
            call["arguments"] = {name: [value] for name, value in call["arguments"].items()}
        schemas = tuple(tool.schema for tool in self.offered)
        return {"kind": "function_calling", "answer": json.dumps(calls), "tools": schemas}


def written(calls: list[Call]) -> str:
    """How calls are answered: one alone, several in a list."""
    if not calls:
        return NO_CALL
    return json.dumps(calls[0] if len(calls) == 1 else calls, separators=(",", ":"))


def typed(of: Type, value: str) -> str | int | bool:
    """The value as the type has it; as a string where it has none, which only who calls the wrong tool comes to."""
    if of == "bool":
        return SWITCH.get(value, value)
    return int(value) if of == "int" and value.isdigit() else value


def mistyped(value: str | int | bool) -> str | int | list[str]:
    """What is no string as one, and a string as the number that it is, or in a list where it is none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    return int(value) if value.isdigit() else [value]


def draw(asked: int, rng: Random) -> Iterator[Request]:
    """Requests for so many calls, of one tool more; 1 in 5 requests for a single call fits none of the tools."""
    while True:
        described = tools(asked + 2, rng)
        wanted, irrelevant = tuple(described[:asked]), asked == 1 and rng.random() < IRRELEVANT
        offered = described[1:] if irrelevant else described[:-1]
        rng.shuffle(offered)
        yield Request(
            tuple(offered), wanted, tuple(tuple(value(of, rng) for _, of in tool.parameters) for tool in wanted)
        )


def tools(count: int, rng: Random) -> list[Tool]:
    """Tools of one split, no two for one noun or with parameters of one name."""
    nouns, names = rng.sample(NOUNS, count), rng.sample(PARAMETERS, 2 * count)
    described = list[Tool]()
    while len(described) < count:
        at = len(described)
        parameters: Parameters = tuple((name, rng.choice(TYPES)) for name in names[2 * at : 2 * at + rng.randint(1, 2)])
        tool = Tool(f"{rng.choice(VERBS)}_{nouns[at]}", parameters)
        if not described or split_of(str(tool)) == split_of(str(described[0])):
            described.append(tool)
    return described


def value(of: Type, rng: Random) -> str:
    if of == "bool":
        return rng.choice(tuple(SWITCH))
    return str(rng.randint(0, 9)) if of == "int" or rng.random() < 0.5 else rng.choice(WORDS)


FAMILY = Family("function_calling", draw, easy=(1,), hard=(2,), base=(1,), brings=Request.brings)


class FunctionCalling(Lab):
    """``easy`` asks for one call or for none, ``hard`` for two, ``mixed`` half and half.

    ``base`` is what a base is trained on: 70 % easy requests, 30 % hard ones.
    """

    family = FAMILY

"""Prompts of known kind: those of tests/reward/detection, and public data sets' where the shared folder has them.

``dev.jsonl`` is what the rules were tuned on; ``heldout.jsonl`` was written before the rules and never tuned on. A row
is a ``prompt``, an ``opening`` to put before public prompts of its kind, or a text that offers ``tools``.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from llmft.types import Task

HERE = Path(__file__).parent / "reward" / "detection"
PROGRAMS = re.compile(
    r"\b(?:codes?|coding|functions?|program\w*|python|java|class(?:es)?|scripts?|software|apps?)\b", re.I
)
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city on a day.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "day": {"type": "string"}}},
}


class Labelled(NamedTuple):
    kind: str
    language: str
    origin: str
    task: Task


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def task(prompt: str, *, system: str | None = None, tools: tuple = ()) -> Task:
    messages = [{"role": "system", "content": system}] if system else []
    return Task("t", (*messages, {"role": "user", "content": prompt}), None, tools=tools)


def offer(text: str, tools: list[dict[str, Any]]) -> str:
    """``text`` with the tools written out as it asks for."""
    return (
        text.replace("{json}", json.dumps(tools, indent=2))
        .replace("{lines}", "\n".join(json.dumps(one) for one in tools))
        .replace("{signatures}", "\n".join(map(_signature, tools)))
    )


def own(name: str) -> Iterator[Labelled]:
    """The prompts that were written for this; requests to tools with each of the texts that offer some."""
    rows = read(name)
    texts = [(row["language"], row["tools"]) for row in rows if "tools" in row]
    for row in (row for row in rows if "prompt" in row):
        kind, language, prompt = row["kind"], row["language"], row["prompt"]
        if not row.get("offered"):
            yield Labelled(kind, language, "own", task(prompt))
            continue
        yield Labelled(kind, language, "own, tools", task(prompt, tools=(WEATHER,)))
        for _, text in texts:
            said = offer(text, [WEATHER])
            yield Labelled(kind, language, "own, tools in the system prompt", task(prompt, system=said))
            yield Labelled(kind, language, "own, tools in the prompt", task(f"{said}\n\n{prompt}"))


def maths(name: str, path: Path, every: int = 1) -> Iterator[Labelled]:
    """GSM8K's questions: as they are, with openings; all of those that speak of programs and functions apart."""
    openings = _openings(name, "math")
    questions = [json.loads(line)["question"] for line in path.read_text(encoding="utf-8").splitlines()]
    for place, question in enumerate(questions):
        if PROGRAMS.search(question):
            yield Labelled("math", "en", "GSM8K that speaks of programs", task(question))
        if place % every == 0:
            language, opening = openings[place // every % len(openings)]
            yield Labelled("math", "en", "GSM8K", task(question))
            yield Labelled("math", language, "GSM8K, opened", task(f"{opening} {question}"))


def code(name: str, path: Path) -> Iterator[Labelled]:
    """HumanEval's prompts: as they are, and with openings."""
    openings = _openings(name, "coding")
    for place, line in enumerate(gzip.decompress(path.read_bytes()).decode().splitlines()):
        prompt = json.loads(line)["prompt"]
        language, opening = openings[place % len(openings)]
        yield Labelled("coding", "en", "HumanEval", task(prompt))
        yield Labelled("coding", language, "HumanEval, opened", task(f"{opening}\n{prompt}"))


def calls(name: str, find: Callable[[str], Path]) -> Iterator[Labelled]:
    """BFCL's requests, simple and irrelevant: with tools, opened, and with the tools in the system prompt or prompt."""
    texts = [(row["language"], row["tools"]) for row in read(name) if "tools" in row]
    openings = _openings(name, "function_calling")
    for part in ("simple_python", "irrelevance"):
        path = find(f"data/bfcl/BFCL_v4_{part}.json")
        for place, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            row = json.loads(line)
            prompt, tools = row["question"][0][0]["content"], row["function"]
            language, text = texts[place % len(texts)]
            said = offer(text, tools)
            where = task(prompt, system=said) if place % 3 else task(f"{said}\n\n{prompt}")
            yield Labelled("function_calling", language, "BFCL, tools in the text", where)
            yield Labelled("function_calling", "en", "BFCL", task(prompt, tools=tuple(tools)))
            language, opening = openings[place % len(openings)]
            yield Labelled(
                "function_calling", language, "BFCL, opened", task(f"{opening} {prompt}", tools=tuple(tools))
            )


def _openings(name: str, kind: str) -> list[tuple[str, str]]:
    return [(row["language"], row["opening"]) for row in read(name) if "opening" in row and row["kind"] == kind]


def _signature(tool: dict[str, Any]) -> str:
    arguments = tool["parameters"].get("properties", {})
    inside = ", ".join(f"{name}: {schema.get('type')}" for name, schema in arguments.items())
    return f"- {tool['name']}({inside}): {' '.join(tool['description'].split())}"

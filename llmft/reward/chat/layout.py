"""Has an answer the form that was asked for, and is it whole?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from llmft.reward.chat.answer import FENCED, answer_of, request_of
from llmft.types import Rollout

NUMBERS = "two three four five six seven eight nine ten due tre quattro cinque sei sette otto nove dieci"
COUNTS = {word: 2 + place % 9 for place, word in enumerate(NUMBERS.split())}
COUNT = rf"(?P<count>\d{{1,2}}|{'|'.join(COUNTS)})"
REQUEST = (
    r"(?:give|list|name|write|suggest|recommend|tell|make|show|create|provide|dammi|elenca|elencami|scrivi|suggerisci"
    r"|suggeriscimi|consiglia|consigliami|fammi|dimmi|crea|mostrami|proponi)"
)
LIST = re.compile(
    rf"\b(?:bullet(?:ed)?[- ]?(?:list|points?)|bullets|numbered list|elenco (?:puntato|numerato)|(?:as|in) a list"
    rf"|(?:come|in) (?:un )?elenco)\b|\b{REQUEST} (?:me |us )?(?:a|an|un|uno) (?:\w+ )?(?:list|elenco)\b",
    re.IGNORECASE,
)
COUNTED = re.compile(rf"\blist of {COUNT}\b|\belenco di {COUNT.replace('count', 'conto')}\b", re.IGNORECASE)
AS_JSON = re.compile(
    r"\b(?:in|as|into|to|come|return|output|valid|only|solo|formato) (?:a |an |un |valid |formato )?(?:json)\b|\bjson "
    r"(?:object|array|only|format)|\boggetto json\b",
    re.IGNORECASE,
)
AS_TABLE = re.compile(
    r"\b(?:in|as|into|make|create|draw|come|in una|crea|fai) (?:a |una )?(?:markdown )?(?:table|tabella)\b",
    re.IGNORECASE,
)
AS_CODE = re.compile(r"\b(?:in|inside|within) a (?:fenced )?code ?block\b|\bin un blocco di codice\b", re.IGNORECASE)
ITEM = re.compile(r"^ {0,3}(?:[-*•+]|\d{1,3}[.)])\s+\S", re.MULTILINE)
FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})", re.MULTILINE)
BLOCK = re.compile(r"^```[^\n]*\n(?P<body>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\s*\|?[^|\n]+(?:\|[^|\n]*)+\|?\s*$")
RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)+\|?\s*$", re.MULTILINE)


class Asked:
    """The share of what applies that holds; in [0, 1].

    Always: the answer ended by itself, and every block of code that it opens is closed. Where the request says so, in
    English or Italian: it is a list (of as many items as "a list of five" says), JSON that parses, a table, or has a
    block of code.

    How it can be farmed: the form alone is asked for, so that a list of nonsense has full marks. What it cannot see: a
    form that is asked for in other words, in another language, in a system prompt, or in an earlier turn.
    """

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [self._value(rollout) for rollout in rollouts]

    def _value(self, rollout: Rollout) -> float:
        answer = answer_of(rollout)
        held = [
            rollout.finish != "length" and bool(answer),
            fences_close(answer),
            *asked_for(request_of(rollout), answer),
        ]
        return sum(held) / len(held)


def asked_for(request: str, answer: str) -> Iterator[bool]:
    """For each form that the request asks for, whether the answer has it."""
    if AS_JSON.search(request):
        yield is_json(answer)
    elif counted := COUNTED.search(request):
        said = counted["count"] or counted["conto"]
        yield len(ITEM.findall(FENCED.sub("", answer))) == (COUNTS.get(said.lower()) or int(said))
    elif LIST.search(request):
        yield len(ITEM.findall(FENCED.sub("", answer))) >= 2
    if AS_TABLE.search(request):
        yield has_table(answer)
    if AS_CODE.search(request):
        yield BLOCK.search(answer) is not None


def fences_close(answer: str) -> bool:
    """Has every fence that opens a block of code its end?"""
    open_by = ""
    for fence in FENCE.findall(answer):
        if not open_by:
            open_by = fence
        elif fence[0] == open_by[0] and len(fence) >= len(open_by):
            open_by = ""
    return not open_by


def is_json(answer: str) -> bool:
    """Is the answer, or the only block in it, an object or array in JSON?"""
    blocks = [block["body"] for block in BLOCK.finditer(answer)]
    if len(blocks) > 1:
        return False
    try:
        return isinstance(json.loads(blocks[0] if blocks else answer), dict | list)
    except (ValueError, RecursionError):
        return False


def has_table(answer: str) -> bool:
    """A line of cells, a line of dashes, and a line of cells after it."""
    lines = answer.splitlines()
    return any(
        RULE.match(line) and 0 < place < len(lines) - 1 and ROW.match(lines[place - 1]) and ROW.match(lines[place + 1])
        for place, line in enumerate(lines)
    )

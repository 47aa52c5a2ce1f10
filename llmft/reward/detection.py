"""What a prompt asks for, where nobody said: `detect` weighs what it says, in English and Italian, and what the task has.

Each rule is one observation about how such requests are put (a request verb by a programming noun, facts with numbers
and a question for a quantity, a list of functions with parameters), and adds its weight to a kind's score once or a few
times; the highest score wins, and `chat` begins with a lead that one weak observation does not overcome. What a task
carries (tests, tools, an answer) is stronger evidence than any words.

What it cannot see: a request in another language without code or formulas in it, or one that is put without any of the
words that such requests are made of ("the usual, but sorted"). It reads prompts, which the model does not write, so
that it cannot be farmed; a data set should still say its tasks' kind where it knows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple, cast

from llmft.reward.wording import MEASURES, RULES, Rule
from llmft.types import Kind, Message, Task

KINDS: tuple[Kind, ...] = ("chat", "coding", "function_calling", "math")  # the earlier wins a tie
LEAD = 2.0  # of chat: what is asked for in most conversations
CARRIED = 30.0  # tests or tools that a task carries: no words outweigh them, and none are read
NUMERIC_ANSWER, ANSWER = 4.0, 1.0
SYSTEM = 0.5  # share of a system prompt's evidence: it is said of every task of a data set
FACTS = 3.0  # a quantity is asked for, and a number is told outside of the question
FACTS_ALONE = 1.5  # several numbers are told, and something is asked
LONGEST = 20_000  # characters of a turn that are read

SENTENCE = re.compile(r"(?<=[.!?:;])\s+|\n+")
FORMULA_OR_NUMBER = re.compile(r"[\s\d.,/%$€\\{}()^+*=:-]*\d[\s\d.,/%$€\\{}()^+*=:a-z-]{0,24}")


class Evidence(NamedTuple):
    """The score of each kind, and the kind that has the highest."""

    kind: Kind
    scores: Mapping[Kind, float]


def detect(task: Task, among: Sequence[Kind] = KINDS) -> Evidence:
    """What a task asks for, of ``among``; its own kind is not looked at."""
    scores: dict[Kind, float] = dict.fromkeys(KINDS, 0.0)
    scores["chat"] = LEAD
    for kind, weight in _carried(task):
        scores[kind] += weight
    if max(scores.values()) < CARRIED:
        for kind, weight in _said(task.messages):
            scores[kind] += weight
    known: list[Kind] = [kind for kind in KINDS if kind in among] or list(among)
    best: Kind = known[0]
    for kind in known[1:]:
        best = kind if scores.get(kind, 0.0) > scores.get(best, 0.0) else best
    return Evidence(best, scores)


def _carried(task: Task) -> Iterator[tuple[Kind, float]]:
    if task.tests:
        yield "coding", CARRIED
    if task.tools:
        yield "function_calling", CARRIED
    if task.answer is not None:
        yield "math", NUMERIC_ANSWER if FORMULA_OR_NUMBER.fullmatch(task.answer.strip().lower()) else ANSWER


def _said(messages: Sequence[Message]) -> Iterator[tuple[Kind, float]]:
    """What the last request says, with the system prompt's word; tools may be told anywhere."""
    users = [_text(one) for one in messages if one.get("role") != "system"]
    system = "\n".join(_text(one) for one in messages if one.get("role") == "system")
    request = users[-1] if users else ""
    yield from _observed(request, ("chat", "coding", "math"))
    for kind, weight in _observed(system, ("coding", "math")):
        yield kind, SYSTEM * weight
    yield from _observed("\n".join([system, *users]), ("function_calling",))


@lru_cache(maxsize=8192)  # a group's task is scored as often as it has responses
def _observed(text: str, kinds: tuple[Kind, ...]) -> tuple[tuple[Kind, float], ...]:
    """What each rule of these kinds adds."""
    counted = [(rule, _count(rule.pattern, text, rule.most)) for rule in _compiled() if rule.kind in kinds]
    found: list[tuple[Kind, float]] = [(rule.kind, rule.weight * count) for rule, count in counted if count]
    if "math" in kinds:
        found.append(("math", _asks_of_facts(text)))
    return tuple(found)


def _asks_of_facts(text: str) -> float:
    """Are numbers told outside of a question, and is a quantity asked for, or anything after two of them or more?"""
    asks, number, question = (re.compile(MEASURES[name], re.IGNORECASE) for name in ("asks", "number", "question"))
    told, measured, asked = set[str](), False, False
    for sentence in SENTENCE.split(text):
        put = asks.search(sentence) or question.search(sentence)
        told |= set(number.findall(sentence, 0, put.start() if put else len(sentence)))
        measured, asked = measured or asks.search(sentence) is not None, asked or put is not None
    if measured and told:
        return FACTS
    return FACTS_ALONE if asked and len(told) > 1 else 0.0


def _count(pattern: re.Pattern[str], text: str, most: int) -> int:
    """How many different things the pattern finds, ``most`` at the most."""
    found: set[str] = set()
    for match in pattern.finditer(text):
        found.add(match[0].lower())
        if len(found) >= most:
            break
    return len(found)


class _Compiled(NamedTuple):
    kind: Kind
    weight: float
    most: int
    pattern: re.Pattern[str]


@cache
def _compiled() -> tuple[_Compiled, ...]:
    return tuple(_Compiled(cast(Kind, one.kind), one.weight, one.most, _pattern(one)) for one in RULES)


def _pattern(rule: Rule) -> re.Pattern[str]:
    return re.compile(rule.pattern, re.MULTILINE | (re.NOFLAG if rule.case else re.IGNORECASE))


def _text(message: Message) -> str:
    content: Any = message.get("content") or ""
    if not isinstance(content, str):  # parts, of which some are text
        content = "\n".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return content[:LONGEST].replace("’", "'").replace("‘", "'")

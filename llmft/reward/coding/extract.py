"""The program in a response: the last complete block of code.

A block is fenced by three or more backticks or tildes, as in CommonMark (https://spec.commonmark.org/0.31.2, section
4.5), so that a longer fence may hold shorter ones, or by ``<code>`` or ``[PYTHON]`` on lines of their own. A block that
is named as another language is passed over; one whose end was not written is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Unfenced = Literal["none", "whole"]  # a response without any fence has no program; or it is one

NAMES = frozenset({"", "python", "python3", "py", "py3", "ipython"})  # of a block that may be Python
FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})(?P<info>.*)")
TAG = re.compile(r"(?P<indent>[ \t]*)<(?P<name>code)\b[^<>]*>\s*|(?P<indent2>[ \t]*)\[(?P<name2>python)\]\s*", re.I)
LANGUAGE = re.compile(r"[{.\s]*(?:language-)?(?P<name>[\w+#-]*)")


class Opening(NamedTuple):
    indent: str
    fence: str  # the run of marks that a closing fence must have, or the line that closes a tag
    language: str
    is_tag: bool


def program(text: str, *, unfenced: Unfenced, after: str | None) -> str | None:
    """The program that ``text`` gives, or None.

    ``after``: only what follows the last of these is looked at (``</think>``); None looks at all of it.
    """
    if after is not None:
        _, marker, text = text.rpartition(after)
        if not marker:
            return None
    if found := list(blocks(text)):
        return found[-1]
    if unfenced == "whole" and text.strip() and not any(_opening(line) for line in text.split("\n")):
        return text
    return None


def blocks(text: str) -> Iterator[str]:
    """The complete blocks that may be Python, in order."""
    lines = text.split("\n")
    last = {line.strip().lower(): at for at, line in enumerate(lines)}  # where a tag's end is met for the last time
    start = 0
    while start < len(lines):
        opening = _opening(lines[start])
        start += 1
        if opening is None or (opening.is_tag and last.get(opening.fence, 0) < start):
            continue
        end = next((at for at in range(start, len(lines)) if _closes(lines[at], opening)), None)
        if end is None:  # all the rest is inside of it
            return
        inside = "".join(_unindented(line, opening.indent) + "\n" for line in lines[start:end])
        start = end + 1
        if opening.is_tag:
            yield from list(blocks(inside)) or [inside]
        elif opening.language in NAMES:
            yield inside


def _opening(line: str) -> Opening | None:
    if (found := FENCE.fullmatch(line.rstrip("\r"))) and not (found["fence"][0] == "`" and "`" in found["info"]):
        named = LANGUAGE.match(found["info"])
        return Opening(found["indent"], found["fence"], named["name"].lower() if named else "", is_tag=False)
    if found := TAG.fullmatch(line):
        ends = "</code>" if found["name"] else "[/python]"
        return Opening(found["indent"] or found["indent2"] or "", ends, "", is_tag=True)
    return None


def _closes(line: str, opening: Opening) -> bool:
    said = line.strip()
    if opening.is_tag:
        return said.lower() == opening.fence
    return len(said) >= len(opening.fence) and not said.strip(opening.fence[0])


def _unindented(line: str, indent: str) -> str:
    """The line without as much of the fence's own indentation as it has."""
    shared = next((at for at, mark in enumerate(indent) if line[at : at + 1] != mark), len(indent))
    return line[shared:]

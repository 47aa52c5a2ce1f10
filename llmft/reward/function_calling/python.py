"""Calls written as in Python, ``f(a=1, b=["x"])``: read by hand, as literals only.

Python's own parser is not asked: a text can be nested so deeply that it ends the process.
"""

from __future__ import annotations

import re
from typing import Any

MAX_DEPTH = 16
MAX_DIGITS = 300  # of a number

SPACE = re.compile(r"\s*")
BETWEEN = re.compile(r"\s*(?:[;,]\s*)?")  # what stands between two calls
NAME = re.compile(r"[A-Za-z_][\w.\-]*")
KEYWORD = re.compile(r"([A-Za-z_]\w*)\s*=(?!=)")
NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|' + r"'(?:[^'\\\n]|\\.)*'", re.DOTALL)
WORD = re.compile(r"(?:True|False|None)(?!\w)")
WORDS = {"True": True, "False": False, "None": None}
ESCAPE = re.compile(r"\\(?:U00(10[0-9a-fA-F]{4}|0[0-9a-fA-F]{5})|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": "", "\\": "\\", "'": "'", '"': '"'}

Arguments = dict[str, Any] | None  # None where some have no name


def python_calls(text: str) -> list[tuple[str, Arguments]] | None:
    """The calls that are the whole of ``text``, behind each other or in a list; None where it is anything else."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].strip()
    calls, at = [], 0
    while at < len(text):
        call = python_call(text, at)
        if call is None:
            return None
        calls.append(call[:2])
        at = _end(BETWEEN, text, call[2])
    return calls or None


def python_call(text: str, at: int) -> tuple[str, Arguments, int] | None:
    """The name and arguments of the call that begins there, and where it ends; None where none does."""
    name = NAME.match(text, at)
    if not name or not text.startswith("(", name.end()):
        return None
    try:
        arguments, end = _arguments(text, name.end() + 1)
    except _NoLiteralError:
        return None
    return name[0], arguments, end


class _NoLiteralError(Exception):
    pass


def _arguments(text: str, at: int) -> tuple[Arguments, int]:
    named: dict[str, Any] = {}
    nameless = False
    while not text.startswith(")", at := _end(SPACE, text, at)):
        keyword = KEYWORD.match(text, at)
        value, at = _value(text, _end(SPACE, text, keyword.end() if keyword else at), 1)
        if not keyword:
            nameless = True
        elif keyword[1] in named:
            raise _NoLiteralError
        else:
            named[keyword[1]] = value
        at = _separated(text, at, ")")
    return (None if nameless else named), at + 1


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    """The literal that begins there, and where it ends; a tuple becomes a list."""
    if depth > MAX_DEPTH:
        raise _NoLiteralError
    first = text[at : at + 1]
    if first == "{":
        return _dict(text, at + 1, depth)
    if first in ("[", "("):
        return _list(text, at + 1, depth, "]" if first == "[" else ")")
    if string := STRING.match(text, at):
        return ESCAPE.sub(_unescaped, string[0][1:-1]), string.end()
    if word := WORD.match(text, at):
        return WORDS[word[0]], word.end()
    if number := NUMBER.match(text, at):
        return _number(number[0]), number.end()
    raise _NoLiteralError


def _list(text: str, at: int, depth: int, close: str) -> tuple[list[Any], int]:
    values = []
    while not text.startswith(close, at := _end(SPACE, text, at)):
        value, at = _value(text, at, depth + 1)
        values.append(value)
        comma = _end(SPACE, text, at)
        if close == ")" and len(values) == 1 and text.startswith(")", comma):
            return value, comma + 1  # (1) is a number in brackets
        at = _separated(text, at, close)
    return values, at + 1


def _dict(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    while not text.startswith("}", at := _end(SPACE, text, at)):
        key, at = _value(text, at, depth + 1)
        colon = _end(SPACE, text, at)
        if not isinstance(key, str) or key in values or not text.startswith(":", colon):
            raise _NoLiteralError
        values[key], at = _value(text, _end(SPACE, text, colon + 1), depth + 1)
        at = _separated(text, at, "}")
    return values, at + 1


def _separated(text: str, at: int, close: str) -> int:
    """Behind the comma that stands there, or before the closing bracket."""
    at = _end(SPACE, text, at)
    if text.startswith(",", at):
        return at + 1
    if text.startswith(close, at):
        return at
    raise _NoLiteralError


def _number(digits: str) -> int | float:
    if len(digits) > MAX_DIGITS:
        raise _NoLiteralError
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise _NoLiteralError
    return int(digits) if digits.lstrip("+-").isdigit() else number


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    return chr(int(code, 16)) if code else ESCAPED.get(found[4], found[0])


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at

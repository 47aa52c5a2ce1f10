"""What a program's form is worth."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import pytest

from llmft.reward.coding.form import LONGEST, Form, has_docstring, is_annotated, parsed
from llmft.types import Rollout, Task

ORIGINAL = {"syntax": 0.3, "docstring": 0.1, "annotations": 0.1, "length": 0.1, "no_program": -0.5}
LENGTHS = {"shorter": 50, "longer": 2000}


def value(text: str, **changes) -> float:
    part = Form(**{**ORIGINAL, **LENGTHS, "unfenced": "none", "after": None, **changes})
    (one,) = part([Rollout(Task("t", (), "coding"), (), (), (), (), "policy", text, "end")])
    assert part.minimum <= one <= 1
    return one


def fenced(source: str) -> str:
    return f"Sure:\n```python\n{source}\n```"


LONG = "\n".join(f"x{index} = {index}" for index in range(10))  # 79 characters
FULL = f'def f(x: int) -> int:\n    """Add."""\n    return x + 1\n{LONG}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No code.", -0.5),
        ("```python\nx = 1", -0.5),
        (fenced("x = 1"), 0.3),
        (fenced("x ="), -0.3),
        (fenced(LONG), 0.4),
        (fenced(LONG + "\nx ="), -0.2),
        (fenced('"""Doc."""'), 0.4),
        (fenced("def f(x: int) -> int: return x"), 0.4),
        (fenced(FULL), 0.6),
        (fenced(FULL) + "\n" + fenced("x ="), -0.3),  # the last one counts
        (fenced(FULL + "\n" + "# far too long" * 200), 0.5),
        (fenced("x = 'a \"\"\" b'; y = {1: 2}; z = '->'"), 0.3),  # quotes, colon and arrow alone are worth nothing
        (fenced(""), 0.3),
        (fenced("a\0b"), -0.3),
        (fenced("x = '\ud800'"), -0.3),
    ],
)
def test_the_original_s_scale(text, expected):
    assert value(text) == expected


def test_the_bounds_of_the_length_are_outside():
    sources = {51: "#" * 50, 50: "#" * 49, 2000: "#" * 1999, 1999: "#" * 1998}  # with the line's end
    assert {size: value(fenced(text)) for size, text in sources.items()} == {51: 0.4, 50: 0.3, 2000: 0.3, 1999: 0.4}


def test_the_sum_is_clipped_and_the_minimum_is_what_is_worst():
    assert value(fenced(FULL), syntax=0.9, docstring=0.9) == 1.0
    assert value(fenced("x ="), syntax=0.9, length=0) == -0.9
    weights = {**ORIGINAL, **LENGTHS, "unfenced": "none", "after": None}
    assert Form(**weights).minimum == -0.5
    assert Form(**{**weights, "syntax": 0.9}).minimum == -0.9


def test_without_fences_and_after_a_mark():
    assert value("x = 1", unfenced="whole") == 0.3
    assert value("<think>\n" + fenced("x =") + "\n</think>\n" + fenced("x = 1"), after="</think>") == 0.3
    assert value(fenced("x = 1"), after="</think>") == -0.5


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): 'doc'", True),
        ("class A:\n    'doc'", True),
        ("class A:\n    async def f(self): 'doc'", True),
        ("def f(): ' '", False),
        ("def f():\n    x = 1\n    'late'", False),
        ("def f(): f'doc'", False),
        ("def f(): b'doc'", False),
    ],
)
def test_docstrings(source, expected):
    assert has_docstring(parsed(source)) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f() -> int: 1", True),
        ("def f(x) -> int: 1", False),
        ("def f(x: int): 1", False),
        ("def f(x: int, *y: int, z: int = 1, **k: int) -> int: 1", True),
        ("def f(x: int, *y, z: int) -> int: 1", False),
        ("def f(x: int, /, y) -> int: 1", False),
        ("class A:\n    def f(self, x: int) -> None: 1", True),
        ("def f(x: int, self) -> int: 1", False),
        ("x: int = 1", False),
        ("lambda x: x", False),
        ("def f(x): 1\nasync def g(x: int) -> int: 1", True),
    ],
)
def test_annotations(source, expected):
    assert is_annotated(parsed(source)) is expected  # type: ignore[arg-type]


N = LONGEST - 100
BOMBS = {
    "parentheses": "(" * N,
    "minus": "-" * N + "1",
    "not": "not " * (N // 4) + "1",
    "lambda": "lambda:" * (N // 7) + "1",
    "attributes": "a" + ".b" * (N // 2),
    "items": "a" + "[0]" * (N // 3),
    "calls": "f" + "()" * (N // 2),
    "sum": "1" + "+1" * (N // 2),
    "power": "1" + "**1" * (N // 3),
    "chain": "1 if 1 else " * (N // 12) + "1",
    "elif": "if x:pass\n" + "elif x:pass\n" * (N // 13),
    "statements": "a=1;" * (N // 4),
    "comparison": "1" + "<1" * (N // 2),
    "braces": "{" * 190,
    "patterns": "match x:\n case " + "[a," * 190,
    "formats": "x=f'" + "{x:" * (N // 3) + "'",
    "digits": "9" * N,
    "too long": "x=1\n" * LONGEST,
}


def test_no_program_takes_the_process_with_it_in_the_main_thread_or_another():
    """A stack that overflows in C would end it without an exception: hence a process of its own."""
    code = """
import json, sys, threading
from llmft.reward.coding.form import parsed
bombs = json.load(sys.stdin)
for one in bombs: parsed(one)
sys.setrecursionlimit(1_000_000)
thread = threading.Thread(target=lambda: print([parsed(one) is None for one in bombs].count(True)))
thread.start()
thread.join()
print("alive")
"""
    bombs = json.dumps(list(BOMBS.values()))
    done = subprocess.run([sys.executable, "-c", code], input=bombs, capture_output=True, text=True)
    assert done.stdout.endswith("\nalive\n"), done.stderr[-500:]


def test_what_is_too_long_is_not_parsed():
    assert parsed("#" * LONGEST) is not None
    assert parsed("#" * (LONGEST + 1)) is None


def test_no_warning_of_a_response_is_shown():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert value(fenced(r"x = '\d'; 1 is 1; assert (x, 'y')")) == 0.3
    assert told == []

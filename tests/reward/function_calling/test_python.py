"""Calls as in Python: the literals are those of Python's own parser, and nothing else is read."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.reward.function_calling.python import python_call, python_calls

literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=6,
)


@given(literals)
def test_a_literal_is_what_python_reads(value):
    text = f"f(x={value!r})"
    assert python_calls(text) == [("f", {"x": value})] == [("f", {"x": ast.literal_eval(repr(value))})]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1.5e3", -1500.0),
        ("+2", 2),
        (".5", 0.5),
        ("5.", 5.0),
        ("(1, 2)", [1, 2]),
        ("(1,)", [1]),
        ("(1)", 1),
        ("()", []),
        ("[1, [2], ]", [1, [2]]),
        ("{'a': (1, 2), \"b\": None}", {"a": [1, 2], "b": None}),
        (r"'it\'s\n\x41B\U0001F600\q'", "it's\nAB\U0001f600\\q"),
    ],
)
def test_literals(text, value):
    assert python_calls(f"f(x={text})") == [("f", {"x": value})]


@pytest.mark.parametrize(
    "text",
    [
        *("y", "1 + 1", "007", "1_000", "0x10", "1e999", "true", "f()", "-x", "{1: 2}", "{1, 2}", "'a' 'b'", "[1 2]"),
        *("1.2.3", "f'{x}'", "'a\nb'", "'a", "[1", "{'a': 1, 'a': 2}", "lambda: 1", "*a", "", "=1", "--1", "1" * 400),
        "[" * 20 + "]" * 20,
    ],
)
def test_what_is_no_literal(text):
    assert python_calls(f"f(x={text})") is None


def test_calls_behind_each_other():
    both = [("f", {"x": 1}), ("g.h", {})]
    for text in ("f(x=1)\ng.h()", "f(x=1); g.h()", "[f(x=1), g.h()]", " [ f( x = 1 , ) , g.h( ) ] ", "f(x=1),g.h()"):
        assert python_calls(text) == both
    assert python_calls("f(1, x=2)") == [("f", None)]
    for text in (
        "",
        "[]",
        "f(x=1) is it",
        "x = f(x=1)",
        "f(x=1)()",
        "f",
        "f (x=1)",
        "[f(x=1)",
        "f(x==1)",
        "f(x=1, x=1)",
    ):
        assert python_calls(text) is None


def test_where_a_call_ends():
    assert python_call("so f(x=')') it", 3) == ("f", {"x": ")"}, 11)
    assert python_call("so f(x=')') it", 0) is None

"""Calls are found in every style, read strictly, and no text breaks or delays the reading."""

from __future__ import annotations

import time

import pytest
from call_styles import STYLES
from hypothesis import given
from hypothesis import strategies as st

from llmft.reward.function_calling.calls import MAX_CALLS, MAX_CHARS, Call, Found, find_calls

ROME, OSLO = ("get_weather", {"city": "Rome"}), ("wind.speed", {"at": [59.9, 10.7], "unit": {"name": "m/s"}})
WEATHER = {"get_weather", "wind.speed", "f"}

letters = st.text("abcdefghijklmnopqrstuvwxyz_ABC", min_size=1, max_size=6)
said = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="<"), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | said,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(said, inside, max_size=3),
    max_leaves=6,
)
calls = st.lists(
    st.tuples(st.lists(letters, min_size=1, max_size=2).map(".".join), st.dictionaries(letters, values, max_size=3)),
    min_size=1,
    max_size=3,
)


def found(*calls) -> Found:
    return Found(tuple(Call(*call) for call in calls))


@pytest.mark.parametrize("style", STYLES)
def test_every_style(style):
    assert find_calls(STYLES[style]([ROME]), WEATHER) == found(ROME)
    assert find_calls(STYLES[style]([ROME, OSLO, ROME]), WEATHER) == found(ROME, OSLO, ROME)


@given(written=calls, style=st.sampled_from(sorted(STYLES)))
def test_what_is_written_in_any_style_is_found_again(written, style):
    text = STYLES[style](written)
    assert find_calls(text, ()) == found(*written), text


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("", []),
        ("None of them fits.", []),
        ("[]", []),
        ("See [1], {x} and f(x) or get_weather().", []),  # spoken of, not called
        ("The set {1, 2}, \\frac{a}{b}, [[1, 2], [3]]", []),
        ("I use get_weather(city='Rome'), then tell you.", [ROME]),
        ("- `get_weather(city=\"Rome\")`\n- other(city='Rome')", [ROME]),  # in prose, only a tool's name calls
        ("other(city='Rome')", [("other", {"city": "Rome"})]),  # the whole text is a call
        ("get_weather('Rome')", [("get_weather", None)]),  # whose argument has no name
        ("get_weather()", [("get_weather", {})]),
        ('{"name": "get_weather"}', [("get_weather", None)]),
        ('{"name": "f", "arguments": ["Rome"]}', [("f", None)]),
        ('{"name": "f", "arguments": {}, "parameters": {}}', [("f", None)]),  # which of the two?
        ('{"name": "f", "arguments": "{}", "parameters": {}}', [("f", None)]),
        ('{"function": {"name": "f", "arguments": {"x": 1}}}', [("f", {"x": 1})]),
        ('{"name": "f", "arguments": "{\\"x\\": 1}"}', [("f", {"x": 1})]),
        ('<think>{"name": "f", "arguments": {}}</think> No.', []),
        ('{"name": "f", "arguments": {"x": "f(x=1) {\\"name\\": 1}"}}', [("f", {"x": 'f(x=1) {"name": 1}'})]),
        ('f(x={"name": "f", "arguments": {}})', [("f", {"x": {"name": "f", "arguments": {}}})]),
        ('<tool_call>{"x": 1}</tool_call>', [(None, {})]),  # a block is meant as a call
        ('<tool_call>f(x=1)</tool_call> or g(x=1) {"name": "g", "arguments": {}}', [("f", {"x": 1})]),
    ],
)
def test_what_is_a_call(text, calls):
    assert find_calls(text, WEATHER) == found(*calls)


@pytest.mark.parametrize("text", ['{"city": "Rome"}', 'Data: [{"a": 1}, {"a": 2}].', '{"name": 5, "arguments": {}}'])
def test_json_that_is_no_call(text):
    assert find_calls(text, WEATHER) == Found(other=True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"name": "f", "arguments": {"x": 1}', "not JSON"),  # cut
        ('{"name": "f", "arguments": {"x": 1}}}', "junk behind"),
        ('[{"name": "f", "arguments": {"x": 1}}', "not JSON"),
        ('{"name": "f", "arguments": {"x": 1,}}', "not JSON"),
        ('{"name": "f", "arguments": {"x": 1, "x": 2}}', "twice"),
        ('{"name": "f", "arguments": {"x": {"a": 1, "a": 1}}}', "twice"),
        ('{"name": "f", "arguments": {"x": NaN}}', "number"),
        ('{"name": "f", "arguments": {"x": -Infinity}}', "number"),
        ('{"name": "f", "arguments": {"x": 1e999}}', "number"),
        ('{"name": "f", "arguments": {"x": 1%s}}' % ("0" * 400), "number"),
        ('{"name": "f", "arguments": {"x": 1%s}}' % ("0" * 9000), "number"),
        ('{"name": "f", "arguments": "{\\"x\\": 1"}', "not JSON"),
        ('{"name": "f", "arguments": "{\\"x\\": 1} and"}', "junk behind"),
        ("{'name': 'f', 'arguments': {'x': 1}}", "not JSON"),
        ('{"type": "function", "function": {"name": "f", "arguments": {}}', "not JSON"),
        ('{"name": "f", "arguments": {"x": "a\nb"}}', "not JSON"),
        ('<tool_call>{"name": "f", "arguments": {}}', "not closed"),
        ('<tool_call>{"name": "f", "arguments": {}} yes</tool_call>', "junk behind"),
        ("<tool_call></tool_call>", "not JSON"),
        ("f(x=y)", "no literals"),
        ("f(x=1, x=2)", "no literals"),
        ("f(x=[1, 2)", "no literals"),
        ('f(x="Rome)', "no literals"),
        ("f(x=__import__('os').system('true'))", "no literals"),
        ('{"name": "f", "arguments": {}}\n' * (MAX_CALLS + 1), "too many"),
        ('{"name": "f", "arguments": {"x": [' + "1," * 1200 + "1]}}", "without end"),
        ('{"name": "f", "arguments": {"x": ' + "[" * 40 + "]" * 40 + "}}", "without end"),
        ('{"tool_calls": ' + "[" * 900 + "]" * 900 + "}", "without end"),
        ('<think>{"name": "f", "arguments": {}}', "without end"),
        ("a" * (MAX_CHARS + 1), "too long"),
    ],
)
def test_broken(text, why):
    assert why in (find_calls(text, {"f"}).broken or "")
    if not text.startswith(("<", "a")):
        good = '{"name": "f", "arguments": {}} '
        assert find_calls(good + text, {"f"}).calls == ()  # a good one beside it does not help


@given(st.text() | st.text("{[()]}\"':,=\\ f1-.eN\n", max_size=60) | st.text("<tool_cal/>{}", max_size=60))
def test_no_text_raises(text):
    read = find_calls(text, {"f"})
    assert read.broken is None or not read.calls


PIECES = ('{"name": "f", "arguments": ', '{"x": ', "[", "]", "}", '"', "f(x=", "f(", ")", ",", "1", "'", " ", ";")
MARKS = ("<tool_call>", "</tool_call>", "```json\n", "\n```", "</think>", "\\", "\\u12", "NaN", "True", "[TOOL_CALLS]")
WHOLES = ('{"', '[{"a":', '{"name":', 'f(["', 'f(["a", ', '"f([', "f(a=[", "\n", "a.", "f(x) ", "f(a=1), ", "{'", "([")
FRAGMENTS = st.sampled_from((*PIECES, *MARKS))


@given(st.lists(FRAGMENTS, max_size=30).map("".join))
def test_no_wreck_of_a_call_raises(text):
    assert find_calls(text, {"f"}).broken is None or not find_calls(text, {"f"}).calls


@pytest.mark.parametrize("piece", [*PIECES, *MARKS, *WHOLES, "f(a=-", '{"a":1}', '{"a":NaN}', "f();"])
def test_bombs_are_cheap(piece):
    for lead in ("", "f(a=", 'f(a="', '{"name": "f", "arguments": {"a": '):
        began = time.process_time()
        find_calls((lead + piece * MAX_CHARS)[:MAX_CHARS], {"f"})
        assert time.process_time() - began < 2.0

"""What endpoints answer, as one text."""

from __future__ import annotations

import json

import pytest
from chat_server import completion
from hypothesis import given
from hypothesis import strategies as st

from llmft.endpoint.reply import NoReply, Usage, as_text, excerpt, read_reply

THOUGHT = "<think>\n1+1 is 2\n</think>\n#2"


def body(*args, **named):
    return json.loads(completion(*args, **named)[2])


@pytest.mark.parametrize(
    "told",
    [
        body("#2", reasoning_content="1+1 is 2"),  # DeepSeek, vLLM, SGLang
        body("\n\n#2\n", reasoning_content=" 1+1 is 2\n"),
        body("#2", reasoning="1+1 is 2"),  # OpenRouter
        body("#2", reasoning_content=None, reasoning="1+1 is 2"),
        body("<think>\n1+1 is 2\n</think>\n\n#2"),  # no reasoning parser
        body("<think>1+1 is 2</think>#2"),
        body("1+1 is 2\n</think>\n#2"),  # R1: its template has written the opening
        body("<think>1+1 is 2</think>#2", reasoning_content="1+1 is 2"),  # both
        body([{"type": "text", "text": "#"}, {"type": "text", "text": "2"}], reasoning="1+1 is 2"),
    ],
)
def test_thinking_is_told_in_one_way(told):
    assert read_reply(told).text == THOUGHT


def test_an_answer_without_thinking_is_itself():
    assert read_reply(body(" #2\n")).text == "#2"
    assert read_reply(body("#2", reasoning_content="", reasoning=None)).text == "#2"
    assert as_text("", "<think>\n\n</think>\n\n#2") == "<think>\n\n</think>\n#2"  # it was asked not to think


def test_only_the_first_closing_ends_the_thinking():
    assert as_text("", "<think>a</think>b</think>c") == "<think>\na\n</think>\nb</think>c"


@given(st.text(), st.text())
def test_what_is_normal_stays_as_it_is(reasoning, content):
    once = as_text(reasoning, content)
    assert as_text("", once) == once


@pytest.mark.parametrize(
    ("finish", "cut"), [("stop", False), ("length", True), ("content_filter", True), (None, False)]
)
def test_an_answer_that_was_cut(finish, cut):
    told = body("#2")
    told["choices"][0]["finish_reason"] = finish
    assert read_reply(told).cut is cut


def test_an_answer_cut_within_its_thinking_is_an_answer():
    reply = read_reply(body("", finish="length", reasoning_content="1+1"))
    assert (reply.text, reply.cut) == ("<think>\n1+1\n</think>\n", True)
    assert read_reply(body(None, finish="length")).text == ""


def test_usage():
    assert read_reply(body("#2", usage=(7, 3))).usage == Usage(7, 3)
    assert read_reply(body("#2", usage=None)).usage == Usage(None, None)
    assert read_reply({**body("#2"), "usage": {"prompt_tokens": 7, "completion_tokens": "3"}}).usage == Usage(7, None)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ([], "no choices"),
        ("Bad gateway", "no choices in Bad gateway"),
        ({"choices": []}, "no choices"),
        ({"error": {"message": "overloaded"}}, "overloaded"),
        ({"choices": [{}]}, "no message"),
        (body(""), "an empty answer, finish_reason=stop"),
        (body(None), "an empty answer"),
        (body("  \n", reasoning_content=" "), "an empty answer"),
        (body("#2 and", finish="insufficient_system_resource"), "half-way"),
    ],
)
def test_no_answer_is_told_with_what_is_there_instead(told, why):
    with pytest.raises(NoReply, match=why):
        read_reply(told)


def test_an_excerpt_is_one_short_line():
    assert excerpt("a\n b") == "a b"
    assert excerpt("x" * 200, 10) == "xxxxxxx..."

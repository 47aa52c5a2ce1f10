"""Thinking first, then an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.reward.format import Thinking
from llmft.types import Rollout, Task


def rollout(text: str, finish="end") -> Rollout:
    return Rollout(Task("t", (), "math"), (), (), (), (), "policy", text, finish)


def thinking(opening="written", answer_tag=None, tag="think") -> Thinking:
    return Thinking(tag=tag, opening=opening, answer_tag=answer_tag)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>9 and 9</think>18", 1.0),
        (" \n<think>\n9 and 9\n</think>\n\n18\n", 1.0),
        ("So: <think>9 and 9</think>18", 0.0),
        ("<think></think>18", 0.0),
        ("<think> \n</think>18", 0.0),
        ("<think>9 and 9</think>", 0.0),
        ("<think>9 and 9</think>\n", 0.0),
        ("<think>9 and 9 18", 0.0),
        ("9 and 9</think>18", 0.0),
        ("18", 0.0),
        ("", 0.0),
        ("<think>9</think><think>9</think>18", 0.0),
        ("<think>9 <think>and</think> 9</think>18", 0.0),
        ("<think>9</think>18</think>", 0.0),
        ("</think>9<think>18", 0.0),
        ("<THINK>9</THINK>18", 0.0),
    ],
)
def test_one_block_at_the_beginning_and_an_answer_behind(text, value):
    assert thinking()([rollout(text)]) == [value]


@pytest.mark.parametrize(
    ("text", "value"),
    [("9 and 9</think>18", 1.0), ("<think>9 and 9</think>18", 0.0), ("</think>18", 0.0), ("9 and 9", 0.0)],
)
def test_an_opening_that_the_prompt_has_given(text, value):
    assert thinking("given")([rollout(text)]) == [value]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>9</think> <answer>18</answer>\n", 1.0),
        ("<think>9</think> 18", 0.0),
        ("<think>9</think> So <answer>18</answer>", 0.0),
        ("<think>9</think> <answer>18</answer>.", 0.0),
        ("<think>9</think> <answer> </answer>", 0.0),
        ("<think>9</think> <answer>17</answer><answer>18</answer>", 0.0),
        ("<think>9 <answer>18</answer></think> 18", 0.0),
    ],
)
def test_an_answer_in_a_tag_of_its_own(text, value):
    assert thinking(answer_tag="answer")([rollout(text)]) == [value]


def test_what_was_cut_has_no_form():
    texts = [rollout("<think>9</think>1", finish) for finish in ("end", "stop", "length")]
    assert thinking()(texts) == [1.0, 1.0, 0.0]


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " "]), max_size=8).map("".join))
def test_against_the_definition(text):
    pieces = text.replace("<think>", "|<|").replace("</think>", "|>|").split("|")
    marks = [one for one in pieces if one in ("<", ">")]
    right = marks == ["<", ">"]
    if right:
        before, inside, behind = (part.strip() for part in text.replace("</think>", "<think>").split("<think>"))
        right = not before and bool(inside) and bool(behind)
    assert thinking()([rollout(text)]) == [float(right)]


@pytest.mark.parametrize("change", [{"tag": "<think>"}, {"tag": " "}, {"answer_tag": "a b"}])
def test_what_is_no_name_of_a_tag(change):
    with pytest.raises(ValueError, match="not the name of a tag"):
        thinking(**change)

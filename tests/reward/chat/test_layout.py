"""The form that was asked for, and that an answer is whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import said

from llmft.reward.chat.layout import Asked, asked_for, fences_close, has_table, is_json

ITEMS = "Here:\n- apples\n- pears\n- plums"
TABLE = "| fruit | colour |\n|---|:--|\n| plum | blue |"


def value(answer: str, request: str = "Tell me about the sea.", **changes) -> float:
    (found,) = Asked()([said(answer, request, **changes)])
    return found


def test_the_share_of_what_holds():
    assert value("It is blue.") == 1.0
    assert value("It is bl", finish="length") == 0.5  # cut off; no fence is open
    assert value("See:\n```\nx", finish="length") == 0.0
    assert value("See:\n```\nx") == 0.5
    assert value("") == 0.5
    assert value(ITEMS, "Give me a list of 3 fruits.") == 1.0
    assert value(ITEMS, "Give me a list of 4 fruits.") == pytest.approx(2 / 3)
    assert value("plum", "As a list and in a table, please.") == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    ("request_", "answer", "held"),
    [
        ("Tell me about the list of Schindler.", "x", []),
        ("What is JSON?", "x", []),
        ("Who sat at the round table?", "x", []),
        ("My shopping list is long. What now?", "x", []),
        ("Answer as a list.", ITEMS, [True]),
        ("Answer as a list.", "apples, pears", [False]),
        ("Use bullet points.", "1. one\n2. two", [True]),
        ("Write a list of fruit.", "- one", [False]),  # one item is no list
        ("Make a list of three fruits.", ITEMS, [True]),
        ("Make a list of three fruits.", ITEMS + "\n- figs", [False]),
        ("Make a list of 3 commands.", "- a\n- b\n- c\n```\n- not an item\n```", [True]),
        ("Fammi un elenco di tre frutti.", ITEMS, [True]),
        ("Fammi un elenco di due frutti.", ITEMS, [False]),
        ("Rispondi con un elenco puntato.", ITEMS, [True]),
        ("Return it as JSON.", '{"a": 1}', [True]),
        ("Return it as JSON.", "```json\n[1, 2]\n```", [True]),
        ("Return it as JSON.", "Sure!\n```json\n[1, 2]\n```", [True]),
        ("Return it as JSON.", '{"a": 1', [False]),
        ("Return it as JSON.", "7", [False]),  # no object and no array
        ("Return it as JSON.", "```\n[1]\n```\n```\n[2]\n```", [False]),  # which of them?
        ("Rispondi in formato JSON.", "{}", [True]),
        ("Put it in a table.", TABLE, [True]),
        ("Put it in a table.", ITEMS, [False]),
        ("Mettilo in una tabella.", TABLE, [True]),
        ("Put it in a code block.", "```\nx\n```", [True]),
        ("Put it in a code block.", "x", [False]),
    ],
)
def test_forms(request_, answer, held):
    assert list(asked_for(request_, answer)) == held


@pytest.mark.parametrize(
    ("answer", "close"),
    [
        ("", True),
        ("```\nx\n```", True),
        ("```python\nx\n```\n~~~\ny\n~~~", True),
        ("````\n```\n````", True),  # the inner fence is text
        ("```\nx\n~~~", False),
        ("```\nx\n```\n```", False),
        ("a ``` b", True),
    ],
)
def test_fences(answer, close):
    assert fences_close(answer) is close


def test_a_table_has_a_head_a_rule_and_a_row():
    assert has_table(TABLE)
    assert not has_table("\n".join(TABLE.splitlines()[:2]))
    assert not has_table("\n".join(TABLE.splitlines()[1:]))
    assert not has_table("a | b\nc | d")


def test_json_that_is_too_deep_is_none():
    assert not is_json("[" * 100_000)


@given(st.text(max_size=300), st.text(max_size=100))
def test_always_between_none_and_all(answer, request_):
    assert 0.0 <= value(answer, request_) <= 1.0

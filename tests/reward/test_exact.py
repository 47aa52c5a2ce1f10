"""The answer to the letter."""

from __future__ import annotations

import pytest

from llmft.reward.exact import Exact
from llmft.types import Rollout, Task


def rollout(text: str, answer: str | None = "834", finish="end") -> Rollout:
    return Rollout(Task("t", (), "math", answer=answer), (), (), (), (), "policy", text, finish)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8614,7513,4308#834", 1.0),
        ("#834", 1.0),
        ("8614,7513,4308#835", 0.0),
        ("8614,7513,4308#834 ", 0.0),  # to the letter
        ("8614,7513,4308# 834", 0.0),
        ("8614#7513#834", 0.0),  # two markers
        ("834", 0.0),  # none
        ("#834#834", 0.0),
        ("#", 0.0),
        ("", 0.0),
        ("#8340", 0.0),
        ("#0834", 0.0),
    ],
)
def test_texts(text, value):
    assert Exact(form="#{answer}")([rollout(text)]) == [value]


def test_a_response_must_end():
    assert Exact(form="#{answer}")([rollout("#834", finish=finish) for finish in ("end", "length", "stop")]) == [
        1,
        0,
        0,
    ]


def test_other_forms():
    assert Exact(form="#### {answer}")([rollout("So.\n#### 834")]) == [1.0]
    assert Exact(form=r"\boxed{{answer}}")([rollout(r"So \boxed{834}"), rollout(r"So \boxed{834")]) == [1.0, 0.0]


@pytest.mark.parametrize("form", ["#", "{answer}", " {answer}", "{answer} is {answer}"])
def test_a_form_must_say_where_the_answer_begins(form):
    with pytest.raises(ValueError, match="no telling where an answer begins"):
        Exact(form=form)


def test_tasks_without_an_answer():
    reward = Exact(form="#{answer}")
    assert reward.faults([rollout("").task]) == []
    (fault,) = reward.faults([rollout("").task, rollout("", answer=None).task])
    assert fault.startswith("1 tasks have no answer, first 't'")
    with pytest.raises(ValueError, match="without an answer"):
        reward([rollout("#1", answer=None)])

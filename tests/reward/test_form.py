"""The form of a response, whatever its answer."""

from __future__ import annotations

import pytest

from llmft.reward.form import Form
from llmft.types import Rollout, Task

ADDITION = r"\d{4}(,\d{4})*#\d+"


def rollout(text: str, finish="end") -> Rollout:
    return Rollout(Task("t", (), "math"), (), (), (), (), "policy", text, finish)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8614,7513,4308#834", 1.0),
        ("9999#1", 1.0),  # a wrong answer in the right form
        ("8614,751,4308#834", 0.0),
        ("8614,7513,4308", 0.0),
        ("8614,7513,4308#834,1", 0.0),
        ("", 0.0),
    ],
)
def test_a_pattern_is_for_the_whole_response(text, value):
    assert Form(pattern=ADDITION, answer_form="#{answer}")([rollout(text)]) == [value]


def test_a_response_must_end():
    assert Form(pattern=ADDITION, answer_form="#{answer}")([rollout("9999#1", "length")]) == [0.0]


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        ("#### {answer}", "Some\nsteps.\n#### 18", 1.0),
        ("#### {answer}", "#### 18\n", 1.0),
        ("#### {answer}", "Some steps. 18", 0.0),
        ("#### {answer}", "Some steps.\n#### ", 0.0),
        (r"\boxed{{answer}}", r"Thus $\boxed{\frac{1}{2}}$.", 1.0),
        (r"\boxed{{answer}}", r"Thus \boxed{}", 0.0),
        (r"\boxed{{answer}}", r"Thus \boxed{1", 0.0),
    ],
)
def test_without_a_pattern_an_answer_in_its_form_is_enough(form, text, value):
    assert Form(pattern=None, answer_form=form)([rollout(text)]) == [value]


def test_what_is_no_pattern():
    with pytest.raises(ValueError, match="not a regular expression"):
        Form(pattern="([", answer_form="#{answer}")

"""What of a response is the answer, and what of that is prose."""

from __future__ import annotations

import pytest
from talk import said

from llmft.reward.chat.answer import answer_of, prose_of, request_of
from llmft.types import Rollout, Task


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("  Hello. ", "Hello."),
        ("<think>hm</think> Hello.", "Hello."),
        ("hm</think>Hello.", "Hello."),  # the template wrote the opening
        ("<think>a</think>b<think>c</think>Hello.", "Hello."),
        ("<think>never ends", ""),
        ("<think>a</think>", ""),
        ("", ""),
    ],
)
def test_thinking_is_no_answer(text, answer):
    assert answer_of(said(text)) == answer


def test_the_last_request():
    turns = (
        {"role": "user", "content": "First."},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": [{"type": "text", "text": "Second."}]},
    )
    assert request_of(Rollout(Task("t", turns, "chat"), (), (), (), (), "policy", "x", "end")) == "Second."
    assert request_of(Rollout(Task("t", (), "chat"), (), (), (), (), "policy", "x", "end")) == ""


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("Look:\n```python\nfor x in xs: print(x)\n```\nDone with it.", "Look:\nDone with it."),
        ("Look here:\n~~~\nx = 1\n~~~", "Look here:"),
        ("Look:\n```\nnever closed, and more", "Look:"),
        ("Say `while True` to him.", "Say   to him."),
        ("If it is not here, then he is with us.", "If it is not here, then he is with us."),
        ("def f(x):\n    if x:\n        return x\n    return None", ""),
        ("It is (as they say) fine.", "It is (as they say) fine."),
    ],
)
def test_prose_is_what_is_no_code(text, prose):
    assert prose_of(text) == prose

"""Text to ids: what transformers' own call gives, by a shorter way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_model import byte_tokenizer

from llmft.chat import Chat, as_response
from llmft.model.characters import character_tokenizer
from llmft.types import Task, Trace


def byte_level():
    return byte_tokenizer(["a cat sat on the mat, and 12 + 30 = 42"] * 4, 300)


CHATS = {"characters": Chat(character_tokenizer()), "byte level": Chat(byte_level())}


@pytest.mark.parametrize("kind", CHATS)
@given(
    text=st.text(max_size=40)
    | st.sampled_from(["", "<|im_end|>a", "  cat\n\n", "the mat 42", "\u00e9\u0301 \U0001f600"])
)
def test_ids_are_those_of_the_tokenizer(kind, text):
    chat = CHATS[kind]
    expected = tuple(chat.tokenizer(text, add_special_tokens=False).input_ids)
    assert chat._rust is not None
    assert chat.response(text, end=False) == expected
    assert chat.response(text) == (*expected, chat.eos_id)


def test_the_shorter_way_is_left_where_it_would_differ():
    chat = Chat(byte_level())
    expected = chat.response("the mat 42")
    chat.tokenizer(
        ["a", "the mat"], padding="max_length", max_length=32, truncation=True
    )  # which its backend remembers
    assert chat._rust.padding is not None
    assert chat.response("the mat 42") == expected

    class Shouting(type(chat.tokenizer)):
        def __call__(self, text, **options):
            return super().__call__(text.upper(), **options)

    chat.tokenizer.__class__ = Shouting
    assert Chat(chat.tokenizer).response("a cat") == Chat(byte_level()).response("A CAT")


def test_a_prompt_has_the_template_s_special_tokens_and_no_more():
    chat = CHATS["characters"]
    ids = chat.prompt(({"role": "user", "content": "1+2="},))
    assert ids[0] == chat.tokenizer.bos_token_id
    assert chat.tokenizer.bos_token_id not in ids[1:]
    assert chat.text(ids) == "1+2="


@pytest.mark.parametrize(("limit", "kept", "finish"), [(9, "12", "end"), (4, "1", "length"), (3, "", "length")])
def test_a_trace_is_cut_at_the_limit_and_says_so(limit, kept, finish):
    chat = CHATS["characters"]
    rollout = as_response(chat, Task("t", (), "math"), (1, 5, 6), Trace("12"), limit=limit)
    assert (rollout.text, rollout.finish, rollout.source) == (kept, finish, "trace")
    assert chat.text(rollout.token_ids) == kept
    assert (chat.eos_id in rollout.token_ids) == (finish == "end")
    assert rollout.advantages == (1.0,) * len(rollout.token_ids)


OPENS = "{{ messages[0]['content'] }}<|im_start|>assistant\n{{ '<think>\n' }}"


@pytest.mark.parametrize(
    ("template", "trace", "response"),
    [
        (OPENS, "<think>\nSo 4.\n</think>\n4", "So 4.\n</think>\n4"),  # the prompt has written the opening
        (OPENS, "So 4.\n</think>\n4", "So 4.\n</think>\n4"),
        (OPENS, "<think> So 4.</think>4", "<think> So 4.</think>4"),
        (OPENS, "4 <think>\n", "4 <think>\n"),
        (OPENS.replace("k>\n", "k>"), "<think>\nSo 4.", "<think>\nSo 4."),
        (OPENS.replace("<think>", "think:"), "<think>\nSo 4.", "<think>\nSo 4."),
    ],
)
def test_an_opening_of_thoughts_that_the_prompt_has_written_is_not_written_again(template, trace, response):
    tokenizer = byte_level()
    tokenizer.chat_template = template
    chat = Chat(tokenizer)
    task = Task("t", ({"role": "user", "content": "2+2"},), "math")
    rollout = as_response(chat, task, chat.prompt(task.messages), Trace(trace), limit=200)
    assert rollout.text == response
    assert rollout.token_ids == chat.response(response)

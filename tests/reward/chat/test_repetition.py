"""What repeats itself, in words and in bytes."""

from __future__ import annotations

import inspect
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import said

from llmft.reward.chat import tongue
from llmft.reward.chat.repetition import Fresh, repeated, squeezed

FRESH = Fresh(ngram=4, allowed=0.1, hopeless=0.5)

PROSE = """\
The harbour wakes before the town does. Nets are shaken out along the quay, gulls argue over what falls from them, and
the first ferry sounds its horn twice for those who are late. By eight the fish has been sold and the cafés have put
their chairs outside. Nobody hurries; the tide decides when work begins, and everybody here has known that since they
were children. In the afternoon the wind turns and the boats that stayed in swing round on their ropes, all at once,
as though somebody had called them."""
LIST = "Bring these:\n" + "\n".join(
    f"- {thing}"
    for thing in ["a warm coat", "two towels", "sun cream", "your passport", "a torch", "some coins", "a good book"]
)


def value(text: str) -> float:
    (found,) = FRESH([said(text)])
    return found


@pytest.mark.parametrize("text", [PROSE, LIST, "Yes.", "", inspect.getsource(tongue)[:4000]])
def test_prose_lists_and_code_have_full_marks(text):
    assert value(text) > 0.97


LOOPS = {
    "a word": "no " * 200,
    "a sentence": "I am happy to help you with that. " * 30,
    "a counter": "\n".join(f"Step {place}: we now look at the result of step {place - 1}." for place in range(1, 80)),
    "paragraphs": (PROSE + "\n\n") * 8,
    "letters": "a" * 3000,
}


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_loops_have_none(text):
    assert value(text) < 0.05


def test_the_share_of_n_grams_that_stood_before():
    assert repeated("a b c d e", 2) == 0.0
    assert repeated("a b a b a", 2) == pytest.approx(0.5)  # ab ba ab ba: two of four
    assert repeated("a b a b a", 4) == 0.0  # abab baba
    assert repeated("A b a B", 2) == pytest.approx(1 / 3)  # ab ba ab
    assert repeated("one", 4) == 0.0


def test_both_bounds_are_where_they_are_said_to_be():
    half = Fresh(ngram=2, allowed=0.0, hopeless=1.0)
    (found,) = half([said("a b a b a")])  # 0.5 of the way: 3/4 - 2/8
    assert found == pytest.approx(0.5)
    assert Fresh(ngram=2, allowed=0.5, hopeless=1.0)([said("a b a b a")]) == [1.0]
    assert Fresh(ngram=2, allowed=0.0, hopeless=0.5)([said("a b a b a")]) == [0.0]


def test_short_texts_are_not_judged_by_their_bytes():
    assert squeezed("no " * 60) == 1.0
    assert squeezed("no " * 200) > 7.0


def test_text_without_a_pattern_is_never_called_one():
    letters = random.Random(0)
    noise = " ".join("".join(letters.choices("abcdefghijklmnop", k=6)) for _ in range(300))
    assert value(noise) == 1.0  # what the docstring says it cannot see


@given(st.text(max_size=500))
def test_always_between_none_and_all(text):
    assert 0.0 <= value(text) <= 1.0


def test_bounds_the_wrong_way_round():
    with pytest.raises(ValueError, match=r"hopeless=0\.2: it is not above allowed=0\.3"):
        Fresh(ngram=4, allowed=0.3, hopeless=0.2)

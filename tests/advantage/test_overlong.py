"""The penalty for length: nothing, then in proportion, then all of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.advantage.overlong import overlong_penalty


@pytest.mark.parametrize(
    ("tokens", "penalty"),
    [(1, 0.0), (16, 0.0), (17, -0.25), (18, -0.5), (20, -1.0), (21, -1.0)],  # the last 4 of 20 tokens
)
def test_worked_out_by_hand(tokens, penalty):
    assert overlong_penalty(tokens, longest=20, buffer=4) == penalty


def test_the_published_vectors(shared):
    vectors = json.loads(shared("vectors/vectors.json").read_text())
    expected = vectors["grpo_family"]["dapo_overlong_penalty_max20480_buf4096_f1"]
    got = {tokens: overlong_penalty(int(tokens), longest=20480, buffer=0.2 * 20480) for tokens in expected}
    assert got == pytest.approx(expected, abs=1e-12)


def test_without_a_buffer_nothing_is_paid():
    assert overlong_penalty(20, longest=20, buffer=0.0) == 0.0


@given(st.integers(1, 200), st.integers(1, 100), st.floats(0.01, 1))
def test_a_longer_response_never_pays_less(tokens, longest, share):
    here, further = (overlong_penalty(n, longest=longest, buffer=share * longest) for n in (tokens, tokens + 1))
    assert -1 <= further <= here <= 0

"""math-verify in processes of its own: whose doing it is when there is no verdict."""

from __future__ import annotations

import signal

import pytest

from llmft.reward.failed import Failed
from llmft.reward.verifier import Question, Verifier, _answer, compare
from llmft.reward.workers import Reply


@pytest.fixture(scope="module")
def verifier():
    made = Verifier(20.0, 2)
    yield made
    made.close()


def test_verdicts_in_order(verifier):
    half = r"\frac{1}{2}"
    questions = [
        Question(half, "0.5"),
        Question(half, "0.6"),
        Question("???", "0.5"),
        Question(half, "So it is $0.5$, as was said.", whole=True),
        Question(half, ""),
    ]
    assert verifier.compare(questions) == ["equal", "differs", "unreadable", "equal", "differs"]
    assert verifier.compare([]) == []
    assert verifier.compare(questions * 20) == ["equal", "differs", "unreadable", "equal", "differs"] * 20


def test_it_agrees_with_math_verify_asked_here(verifier):
    pairs = [(f"{one}/{two}", f"{one * 2}/{two * 2 + (one == 3)}") for one in range(1, 5) for two in range(1, 5)]
    assert verifier.compare([Question(*pair) for pair in pairs]) == [compare(*pair, False) for pair in pairs]


def test_a_hang_is_what_was_saids():
    quick = Verifier(1.0, 2)
    assert quick.compare([Question("1/2", "9^{9^{9^{9^9}}}"), Question("1/2", "2/4")])[0] == "hang"
    quick.close()


@pytest.mark.parametrize("code", [-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS])
def test_a_crash_is_what_was_saids(code):
    assert _answer(Reply("died", "worker died", code)) == "crash"


@pytest.mark.parametrize("code", [-signal.SIGKILL, -signal.SIGTERM, 1, None])
def test_a_process_that_somebody_ended_is_machinery(code):
    failed = _answer(Reply("died", "worker died (SIGKILL)", code))
    assert isinstance(failed, Failed)
    assert str(failed) == "math-verify: worker died (SIGKILL)"

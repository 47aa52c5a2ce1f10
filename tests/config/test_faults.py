"""How a refusal reads."""

from __future__ import annotations

import pickle

import pytest

from llmft.config import ConfigError, Fault, Stop
from llmft.config.faults import ABSENT, nearest


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("a.b", 1, "too small", "use 2"), "a.b=1: too small; use 2"),
        (Fault("a.b", "x", "too small"), "a.b=x: too small"),
        (Fault("a.b", "", "empty", "fill it"), "a.b='': empty; fill it"),
        (Fault("a.b", None, "empty", "fill it"), "a.b=null: empty; fill it"),
        (Fault("a.b", True, "no", "yes"), "a.b=true: no; yes"),
        (Fault("a.b", ABSENT, "missing", "give it"), "a.b: missing; give it"),
    ],
)
def test_a_fault(fault, text):
    assert str(fault) == text


def test_a_long_value_is_cut():
    assert len(str(Fault("a", "x" * 500, "long"))) < 100


def test_an_error_lists_its_faults_and_survives_another_process():
    error = ConfigError([Fault("a", 1, "why", "what"), "b: two\nlines"])
    assert str(error) == "2 faults in the config:\n  a=1: why; what\n  b: two\n    lines"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert isinstance(error, ValueError)
    stop = pickle.loads(pickle.dumps(Stop(3, "not finite")))
    assert (stop.code, str(stop)) == (3, "not finite")


def test_the_nearest_name():
    assert nearest("grop", ["grpo", "sft"]) == "did you mean 'grpo'?"
    assert nearest("XY", ["xy"]) == "did you mean 'xy'?"
    assert nearest("zzz", ["b", "a"]) == "there are: a, b"
    assert nearest("zzz", []) == "remove it"

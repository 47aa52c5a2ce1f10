"""What is held out are other functions, by what they do; a task's tests are lists of its own split and find slips out."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.config import build, compose
from llmft.dataset.lab import coding
from llmft.dataset.lab.coding import LIKE, NAMES, RIGHT, RUN, TESTS, Function, done, draw, program, sound
from llmft.dataset.lab.family import split_of
from llmft.types import Splits, Task

TIERS = ("easy", "hard", "mixed", "base")


def load(*overrides: str) -> Splits:
    return build(compose(["dataset=lab_coding", *(f"dataset.{one}" for one in overrides)]).dataset).load()


@pytest.fixture(scope="module")
def made() -> dict[str, Splits]:
    few = ("train=150", "heldout=50", "test=50")
    return {tier: load(f"tier={tier}", "heldout_tier=mixed", "traces=sloppy", *few) for tier in TIERS}


def names_of(task: Task) -> tuple[str, ...]:
    """The operations that the prompt asks for."""
    return tuple(str(task.messages[0]["content"]).removeprefix("f(a): ").strip().split(", "))


def run(text: str, calls: list[str]) -> list[Any]:
    """What the program in a response returns."""
    source = re.fullmatch(r"```python\n(.*)```", text, re.DOTALL)
    assert source
    namespace: dict[str, Any] = {}
    exec(source[1], namespace)
    return [eval(call, namespace) for call in calls]


def passes(text: str, task: Task) -> bool:
    return run(text, [test.source for test in task.tests]) == [test.expected for test in task.tests]


def test_a_function_by_hand():
    function = Function(("double", "reverse", "tail"))
    assert function.prompt(Random(0)) == "f(a): double, reverse, tail\n"
    assert function.answer == "```python\ndef f(a):\n  a=[x*2 for x in a]\n  a=a[::-1]\n  return a[1:]\n```"
    assert run(function.answer, ["f([1, 2, 3])"]) == [[4, 2]] == [done(function.code, [1, 2, 3])]
    assert program(()) == "```python\ndef f(a):\n  return a\n```"  # of a writer who forgot everything


@pytest.mark.parametrize(
    ("name", "right", "like"),
    [
        ("abs", [3, 2, 2, 0, 3], [-3, 2, -2, 0, -3]),
        ("alternate", [3, 2, 3], [-2, 0]),
        ("count", [3, -2, 2, 0, 3, 5], [5]),
        ("distinct", [3, -2, 2, 0], [-2, 0, 2, 3]),
        ("double", [6, -4, 4, 0, 6], [5, 0, 4, 2, 5]),
        ("evens", [-2, 2, 0], [3, 3]),
        ("gaps", [-5, 4, -2, 3], [5, -4, 2, -3]),
        ("halve", [1, -1, 1, 0, 1], [1, 0, 0, 0, 1]),
        ("init", [3, -2, 2, 0], [3]),
        ("mirror", [3, -2, 2, 0, 3, 3, 0, 2, -2, 3], [3, -2, 2, 0, 3, 3, -2, 2, 0, 3]),
        ("negate", [-3, 2, -2, 0, -3], [3, 2, 2, 0, 3]),
        ("next", [4, -1, 3, 1, 4], [2, -3, 1, -1, 2]),
        ("odds", [3, 3], [-2, 2, 0]),
        ("positives", [3, 2, 3], [3, 2, 0, 3]),
        ("reverse", [3, 0, 2, -2, 3], [-2, 0, 2, 3, 3]),
        ("rotate", [-2, 2, 0, 3, 3], [-2, 2, 0, 3]),
        ("sort", [-2, 0, 2, 3, 3], [3, 0, 2, -2, 3]),
        ("square", [9, 4, 4, 0, 9], [6, -4, 4, 0, 6]),
        ("tail", [-2, 2, 0, 3], [3, -2, 2, 0]),
        ("total", [3, -2, 2, 0, 3, 6], [6]),
        ("twice", [3, -2, 2, 0, 3] * 2, [3, -2, 2, 0, 3] * 3),
    ],
)
def test_the_operations_and_what_they_are_taken_for(name, right, like):
    assert RUN[RIGHT[name]]([3, -2, 2, 0, 3]) == right
    assert RUN[LIKE[name]]([3, -2, 2, 0, 3]) == like


def test_every_operation_was_tried():
    assert set(LIKE) == set(NAMES)
    assert len(NAMES) == 21


def test_two_descriptions_of_one_function_are_one_question():
    assert Function(("double", "reverse")).key == Function(("reverse", "double")).key
    assert Function(("negate", "square")).key == Function(("square",)).key
    assert Function(("tail", "reverse")).key != Function(("reverse", "tail")).key


def test_functions_of_different_splits_do_different_things():
    """Every function of up to 3 operations, run as it is written, on lists that its key knows nothing of."""
    rng = Random("lists that nothing else draws")
    lists = [[rng.randint(-9, 9) for _ in range(rng.randint(3, 9))] for _ in range(24)]
    splits = defaultdict(set)
    for count in (1, 2, 3):
        for function in map(Function, product(NAMES, repeat=count)):
            if sound(function):
                does = run(function.answer, [f"list(map(f, {lists}))"])
                splits[repr(does)].add(split_of(function.key))
    assert len(splits) > 4000
    assert {len(of) for of in splits.values()} == {1}


def test_at_least_200_functions_are_held_out_that_no_tier_trains_on(made):
    default = load()
    for split in (default.heldout, default.test):
        assert len({Function(names_of(task)).key for task in split}) == len(split) >= 200
    held = {Function(names_of(task)).key for task in default.heldout + default.test}
    trained = [default.train, *(splits.train for splits in made.values())]
    assert not held & {Function(names_of(task)).key for tasks in trained for task in tasks}


def test_what_is_held_out_is_tested_on_lists_that_training_never_saw(made):
    called = {
        split: {test.source for splits in made.values() for task in getattr(splits, split) for test in task.tests}
        for split in ("train", "heldout", "test")
    }
    assert all(len(calls) > 200 for calls in called.values())
    assert not called["train"] & called["heldout"]
    assert not called["train"] & called["test"]
    assert not called["heldout"] & called["test"]


def test_every_single_slip_fails_a_test(made):
    for task in (*made["mixed"].train, *made["mixed"].heldout):
        function = Function(names_of(task))
        assert len(function.slips()) >= 2 * len(function.names) - 2
        assert len(task.tests) >= TESTS
        assert passes(function.answer, task)
        assert not any(passes(program(code), task) for code in function.slips())


def test_as_many_lists_are_taken_as_the_slips_need(monkeypatch):
    monkeypatch.setattr("llmft.dataset.lab.coding.TESTS", 1)
    for function, _ in zip(draw(5, Random(0)), range(100), strict=False):
        calls = coding.tests(function)
        right = [done(function.code, a) for a in calls]
        assert all([done(code, a) for a in calls] != right for code in function.slips())


@pytest.mark.parametrize("tier", TIERS)
def test_a_sloppy_program_is_the_experts_or_fails_a_test(made, tier):
    right = [task.traces[0].text == Function(names_of(task)).answer for task in made[tier].train]
    assert right == [passes(task.traces[0].text, task) for task in made[tier].train]
    assert 0 < sum(right) < len(right) / 2


def test_the_tiers(made):
    counts = {tier: {len(names_of(task)) for task in splits.train} for tier, splits in made.items()}
    assert counts == {"easy": {3}, "hard": {5}, "mixed": {3, 5}, "base": {2, 3, 5}}


def test_whatever_is_written_is_of_the_form_and_fits(made):
    cfg = compose(["dataset=lab_coding"]).dataset
    for task in (task for splits in made.values() for task in splits.train):
        assert (task.kind, task.answer, task.tools) == ("coding", None, ())
        assert re.fullmatch(cfg.form_pattern, task.traces[0].text)
        assert len(task.traces[0].text) < cfg.response_tokens


@given(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=5), slip=st.floats(0, 1), seed=st.integers(0, 999))
def test_a_writer_is_right_where_nobody_slips_and_else_does_something_else(names, slip, seed):
    function = Function(tuple(names))
    assert function.write(0.0, Random(seed)) == ("", function.answer)
    _, written = function.write(slip, Random(seed))
    lists = [f"f({[number, 3, -number, 2, 2 * number + 1]})" for number in range(-9, 10)]
    if run(written, lists) != run(function.answer, lists):
        assert written != function.answer

"""The Berkeley leaderboard's simple and irrelevance sets: gold calls have full marks, and every corruption costs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple
from functools import cache

import pytest
from call_styles import STYLES, inner

from llmft.config import build, compose
from llmft.reward.function_calling.grade import ALL, NOTHING, asked_of, grades
from llmft.reward.function_calling.parts import Correct
from llmft.reward.function_calling.values import first
from llmft.types import Rollout, Task

FOLDER = "data/bfcl"
WRONG = {"string": 12345, "integer": "five", "number": "much", "boolean": "true", "array": "a, b", "object": "a: b"}


@cache
def load(folder: str, option: str) -> tuple[Task, ...]:
    return build(compose([f"dataset={option}", f"dataset.path={folder}", "dataset.heldout=0"]).dataset).load().train


@pytest.fixture
def simple(shared) -> tuple[Task, ...]:
    shared(f"{FOLDER}/BFCL_v4_simple_python.answers.json")
    return load(str(shared(FOLDER)), "bfcl_simple")


@pytest.fixture
def irrelevance(shared) -> tuple[Task, ...]:
    shared(f"{FOLDER}/BFCL_v4_irrelevance.json")
    return load(str(shared(FOLDER)), "bfcl_irrelevance")


def answered(task: Task, text: str) -> Rollout:
    return Rollout(task, (), (), (), (), "policy", text, "end")


def gold(task: Task) -> dict:
    return json.loads(Correct(without_answer="stop").gold(task) or "")


def described(task: Task) -> dict:
    return task.tools[0]["function"]


def accepted(task: Task) -> dict:
    return json.loads(task.answer or "")[0]["arguments"]


def other(value, values):
    """A value of the same type that is not accepted; None where there is none."""
    if isinstance(value, bool):
        return None if (not value) in [one for one in values if isinstance(one, bool)] else not value
    if isinstance(value, int | float):
        return value + 1000
    if isinstance(value, str):
        return f"{value} quux"
    if isinstance(value, list):
        return [*value, value[0]]
    return {name: other(inside, values) for name, inside in value.items()}


def corrupted(task: Task) -> Iterator[tuple[str, dict]]:
    """The gold call with one thing wrong, in every place where it can be."""
    call, right = gold(task), accepted(task)
    arguments, schema = call["arguments"], described(task)["parameters"]["properties"]
    for name in (call["name"] + "_", call["name"][:-1], call["name"].upper()):
        yield "name", {**call, "name": name}
    for key, value in arguments.items():
        if kind := schema[key].get("type"):
            yield "type", {**call, "arguments": {**arguments, key: WRONG[kind]}}
        if (wrong := other(value, right[key])) is not None:
            yield "value", {**call, "arguments": {**arguments, key: wrong}}
        if "" not in right[key] or key in described(task)["parameters"]["required"]:
            yield "missing", {**call, "arguments": {one: arguments[one] for one in arguments if one != key}}
    for key in ("surplus", *(set(schema) - set(right))):
        yield "extra", {**call, "arguments": {**arguments, key: 1}}


def test_no_faults(simple, irrelevance):
    assert (len(simple), len(irrelevance)) == (400, 240)
    assert Correct(without_answer="stop").faults([*simple, *irrelevance]) == []


@pytest.mark.parametrize("style", STYLES)
def test_gold_calls_in_every_style(simple, style):
    calls = [(call["name"], call["arguments"]) for call in map(gold, simple)]
    graded = grades([answered(task, STYLES[style]([call])) for task, call in zip(simple, calls, strict=True)])
    assert Counter(graded) == {ALL: 400}


def test_every_corruption_costs(simple):
    reward = build(compose(["reward=function_calling"]).reward)
    kinds, rollouts, tried = [], [], set()
    for task in simple:
        for kind, call in corrupted(task):
            kinds.append(kind)
            rollouts.append(answered(task, json.dumps(call)))
            tried.add((task.id, kind))
    scores = reward.score(rollouts)
    assert all(score.value is not None and score.value < 2.0 - 0.05 and score.correct is False for score in scores)
    # every one of the 400 can be corrupted in all five ways
    assert Counter(kind for _, kind in tried) == {"name": 400, "type": 400, "value": 400, "missing": 400, "extra": 400}
    assert Counter(kinds)["value"] > 900
    assert all(score.parts["schema"] == 0 for score, kind in zip(scores, kinds, strict=True) if kind == "type")


def test_every_accepted_value_is_right(simple):
    rollouts = []
    for task in simple:
        call = gold(task)
        for key, values in accepted(task).items():
            for value in values:
                if value != "":
                    arguments = {**call["arguments"], key: first(value)}
                    rollouts.append(answered(task, json.dumps({**call, "arguments": arguments})))
    wrong = [(one.task.id, one.text) for one, marks in zip(rollouts, grades(rollouts), strict=True) if marks.values < 1]
    assert len(rollouts) > 1300
    assert wrong == []


def test_to_call_nothing_is_right_where_nothing_fits(irrelevance):
    prose = "I am sorry: none of my functions can do that. You could compute f(2) = 4 yourself, see [1]."
    for text in (prose, ""):
        assert Counter(grades([answered(task, text) for task in irrelevance])) == {ALL: 240}
    for style in STYLES.values():
        calls = [(described(task)["name"], {"x": 1}) for task in irrelevance]
        rollouts = [answered(task, style([call])) for task, call in zip(irrelevance, calls, strict=True)]
        assert Counter(grades(rollouts)) == {NOTHING: 240}


def test_prose_around_a_call_does_not_hide_it(irrelevance):
    rollouts = [
        answered(task, f"I cannot help with that.\n{inner((described(task)['name'], {}))} But ask on.")
        for task in irrelevance
    ]
    assert Counter(map(astuple, grades(rollouts))) == {astuple(NOTHING): 240}


def test_where_tools_are_read_once(simple):
    asked = asked_of(simple[0])
    assert asked_of(simple[0]) is asked

"""The marks of a response, by hand, and the ways in which marks could be had for nothing."""

from __future__ import annotations

import json
from dataclasses import astuple
from functools import cache
from itertools import permutations
from random import Random

import pytest
from call_styles import STYLES, listed
from hypothesis import given
from hypothesis import strategies as st

from llmft.config import build, compose
from llmft.reward.function_calling.grade import ALL, NOTHING, asked_of, grade, grades
from llmft.types import Rollout, Task

WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
        "required": ["city"],
    },
}
TIME = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"properties": {"city": {"type": "string"}}}},
}
ROME = ("get_weather", {"city": "Rome", "days": 3})
OSLO = ("get_weather", {"city": "Oslo", "days": 3})
CLOCK = ("get_time", {"city": "Rome"})


def task(*answer, tools=(WEATHER, TIME)) -> Task:
    calls = [{"name": name, "arguments": {key: [one] for key, one in given.items()}} for name, given in answer]
    return Task("t", (), "function_calling", answer=json.dumps(calls), tools=tools)


def marks(task: Task, text: str) -> tuple[float, ...]:
    return astuple(grade(asked_of(task), text))


def called(*calls) -> str:
    return listed(calls)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (called(ROME), (1, 1, 1, 1, 1, 1)),
        ("", (-1, 0, 0, 0, 0, 0)),
        ("It is sunny.", (-1, 0, 0, 0, 0, 0)),
        (called(ROME)[:-1], (-1, 0, 0, 0, 0, 0)),
        ('{"city": "Rome"}', (1, 0, 0, 0, 0, 0)),
        ('{"name": "get_weather"}', (1, 0, 1, 0, 0, 0)),
        ("get_weather('Rome', 3)", (1, 0, 1, 0, 0, 0)),
        (called(("weather", ROME[1])), (1, 1, 0, 0, 0, 0)),
        (called(("get_weather", {"city": "Rome", "days": "3"})), (1, 1, 1, 0, 0.5, 0)),
        (called(("get_weather", {"city": "Rome", "days": True})), (1, 1, 1, 0, 0.5, 0)),
        (called(("get_weather", {"city": "Rome", "days": 4})), (1, 1, 1, 1, 0.5, 0)),
        (called(("get_weather", {"city": "Rome"})), (1, 1, 1, 1, 0.5, 0)),
        (called(("get_weather", {"days": 3})), (1, 1, 1, 0, 0.5, 0)),
        (called(("get_weather", {**ROME[1], "unit": "C"})), (1, 1, 1, 1, 2 / 3, 0)),
        (called(("get_weather", {**ROME[1], "hour": 1})), (1, 1, 1, 0, 2 / 3, 0)),
        (called(CLOCK), (1, 1, 1, 1, 0, 0)),
        (called(ROME, ROME), (1, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 0)),
        (called(ROME, CLOCK, OSLO, OSLO), (1, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 0)),
    ],
)
def test_one_call_is_asked_for(text, expected):
    assert marks(task(ROME), text) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (called(ROME, OSLO), (1, 1, 1, 1, 1, 1)),
        (called(OSLO, ROME), (1, 1, 1, 1, 1, 1)),
        (called(ROME), (1, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 0)),
        (called(ROME, ROME), (1, 1, 1, 1, 3 / 4, 0)),  # the second is right but for its city
        (called(ROME, OSLO, CLOCK), (1, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 0)),
        (called(ROME, ("weather", {})), (1, 1, 1 / 2, 1 / 2, 1 / 2, 0)),
    ],
)
def test_two_calls_are_asked_for(text, expected):
    assert marks(task(ROME, OSLO), text) == pytest.approx(expected, abs=1e-12)


def test_calls_are_paired_as_is_best_not_as_they_come():
    accepted = [{"name": "get_weather", "arguments": {"city": cities}} for cities in (["Rome", "Oslo"], ["Rome"])]
    both = Task("t", (), "function_calling", answer=json.dumps(accepted), tools=(WEATHER,))
    cities = [("get_weather", {"city": city}) for city in ("Rome", "Oslo")]
    assert marks(both, called(*cities)) == astuple(ALL)  # Rome must be the second one's
    assert marks(both, called(*reversed(cities))) == astuple(ALL)


@given(
    order=st.permutations([ROME, OSLO, CLOCK, ("get_time", {"city": "Oslo"})]), style=st.sampled_from(sorted(STYLES))
)
def test_the_order_of_parallel_calls_does_not_matter(order, style):
    asked = task(ROME, OSLO, CLOCK, ("get_time", {"city": "Oslo"}))
    assert marks(asked, STYLES[style](order)) == astuple(ALL)


@pytest.mark.parametrize(
    "text", ["", "None of my functions does that.", "I could use get_time() or {x}.", "[]", "f(2) = 4"]
)
def test_no_call_is_right(text):
    assert marks(task(), text) == astuple(ALL)


@pytest.mark.parametrize("style", STYLES)
def test_any_call_is_wrong_where_none_is_right(style):
    for call in (ROME, CLOCK, ("get_weather", {"planet": 1})):
        assert marks(task(), STYLES[style]([call])) == astuple(NOTHING)
        assert marks(task(), f"I cannot do that.\n{STYLES[style]([call])}\nSorry.") == astuple(NOTHING)


@pytest.mark.parametrize(
    "text",
    ['{"name": "get_weather"}', "get_weather('Rome')", called(ROME)[:-1], "<tool_call>", "get_weather(city=Rome)"],
)
def test_half_a_call_is_one(text):
    assert marks(task(), text) == astuple(NOTHING)


def test_a_call_of_nobodys_tool_is_one():
    for text in (
        called(("weather", {"city": "Rome"})),
        'No.\n{"name": "weather", "parameters": {}}',
        "weather(city='Rome')",
    ):
        assert marks(task(), text) == astuple(NOTHING)


def test_json_that_is_no_call_is_an_answer():
    assert marks(task(), 'Here is your record: {"name": "Ada", "born": 1815}') == astuple(ALL)


def test_an_accepted_value_has_to_satisfy_the_schema_too():
    kelvin = ("get_weather", {"city": "Rome", "unit": "K"})
    assert marks(task(kelvin), called(kelvin)) == (1, 1, 1, 0, 1, 0)


def test_without_an_answer_the_schema_decides():
    free = Task("t", (), "function_calling", tools=(WEATHER, TIME))
    assert marks(free, called(ROME, CLOCK)) == astuple(ALL)
    assert marks(free, called(ROME, ("get_weather", {}))) == (1, 1, 1, 0.5, 0.5, 0)
    assert marks(free, "It is sunny.") == astuple(NOTHING)


@cache
def made():
    return build(compose(["reward=function_calling"]).reward)


def reward(task: Task, text: str) -> float:
    (score,) = made().score([Rollout(task, (), (), (), (), "policy", text, "end")])
    assert score.value is not None, score.failure
    return score.value


def test_full_marks_and_none():
    assert reward(task(ROME), called(ROME)) == pytest.approx(2.0)
    assert reward(task(), "No.") == pytest.approx(2.0)
    assert reward(task(ROME), "No.") == reward(task(), called(ROME)) == pytest.approx(-0.3)


def test_form_without_content_is_at_most_half():
    assert reward(task(ROME), called(CLOCK)) == pytest.approx(1.0)
    assert reward(task(ROME), called(("get_weather", {"city": "", "days": 0}))) == pytest.approx(1.0)


def test_calling_everything_is_worse_than_one_guess():
    tools = tuple({**WEATHER, "name": f"tool_{index}"} for index in range(8))
    asked = task(("tool_0", ROME[1]), tools=tools)
    everything = reward(asked, called(*[(tool["name"], ROME[1]) for tool in tools]))
    guesses = [reward(asked, called((tool["name"], ROME[1]))) for tool in tools]
    assert everything < sum(guesses) / len(guesses)
    assert everything < min(guesses)


@given(st.integers(0, 2**32))
def test_more_calls_are_never_worth_more_than_the_right_ones(seed):
    random = Random(seed)
    right = random.sample([ROME, OSLO, CLOCK], random.randint(1, 3))
    extra = random.choices([ROME, OSLO, CLOCK, ("get_weather", {"city": "Bonn"})], k=random.randint(1, 3))
    asked = task(*right)
    for order in list(permutations(right + extra))[:3]:
        worse, best = marks(asked, called(*order)), marks(asked, called(*right))
        assert best == astuple(ALL)
        assert all(one < other for one, other in zip(worse[1:], best[1:], strict=True))


def test_a_batch_is_read_once():
    from llmft.reward.function_calling import grade as module

    asked = task(ROME)
    rollouts = [Rollout(asked, (), (), (), (), "policy", text, "end") for text in (called(ROME), "No.", called(ROME))]
    before = module._grade.cache_info().misses
    assert [one.correct for one in grades(rollouts)] == [1.0, 0.0, 1.0]
    assert [score.correct for score in made().score(rollouts)] == [True, False, True]
    assert module._grade.cache_info().misses == before + 2  # two texts, six parts


def test_tasks_that_are_equal_but_not_the_same_are_kept_apart():
    rome, oslo = task(ROME), task(OSLO)
    for _ in range(2):
        texts = [(rome, called(ROME)), (oslo, called(ROME))]
        graded = grades([Rollout(one, (), (), (), (), "policy", text, "end") for one, text in texts])
        assert [one.correct for one in graded] == [1.0, 0.0]

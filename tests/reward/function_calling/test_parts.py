"""What of a task cannot be scored is told before a run, by task and field; its gold scores full marks."""

from __future__ import annotations

import json

import pytest

from llmft.config import build, compose
from llmft.reward.function_calling.parts import Correct, KnownTool, Schema, Structure, ValidJson, Values
from llmft.types import Rollout, Task, Trace

TOOL = {"name": "f", "parameters": {"type": "object", "properties": {"x": {}, "y": {}}, "required": ["x"]}}


def task(answer="[]", tools=(TOOL,), traces=()) -> Task:
    answer = answer if isinstance(answer, str | None) else json.dumps(answer)
    return Task("t", (), "function_calling", answer=answer, tools=tools, traces=traces)


def accepted(**arguments) -> list:
    return [{"name": "f", "arguments": arguments}]


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        (task(tools=()), "tools: there are none; name dataset.tools_column"),
        (task(None), "answer: there is none; name dataset.answer_column, or set without_answer=schema"),
        (task(tools=({"parameters": {}},)), "tools: a tool without a name"),
        (task(tools=(TOOL, TOOL)), "tools: two are named 'f'"),
        (task(tools=({"name": "f", "parameters": {"type": "dict"}},)), "tools: tool 'f': parameters: type=dict"),
        (
            task(tools=({"name": "f", "parameters": {"properties": {"x": {"type": "int"}}}},)),
            "tools: tool 'f': parameters: not valid JSON Schema: properties.x.type: 'int' is not valid",
        ),
        (task("f(x=1)"), "answer: not JSON"),
        (task("[1"), "answer: not JSON"),
        (task("{}"), "answer: a JSON dict, not a list of calls"),
        (task([{"name": "f"}]), "answer: \"{'name': 'f'}\" is no"),
        (task([{"name": "g", "arguments": {}}]), "answer: it calls 'g', but the tools are f"),
        (task(accepted(z=[1])), "answer: 'f' has no argument 'z' in its parameters"),
        (task(accepted(x=1)), "answer: 'f': argument 'x': '1' is no list of accepted values; write [value]"),
        (task(accepted(x=[])), "is no list of accepted values"),
        (task(accepted(x=[{"w": 1}])), "argument 'x.w': '1' is no list"),
        (task(accepted(x=[[{"w": 1}]])), "argument 'x.w': '1' is no list"),
        (task(accepted(x=[{"w": [{"v": 1}]}])), "argument 'x.w.v': '1' is no list"),
    ],
)
def test_faults(task, fault):
    (told,) = Correct(without_answer="stop").faults([task])
    assert told.startswith("task 't': ")
    assert fault in told


def test_sound_tasks_have_none_and_many_are_counted():
    part = Correct(without_answer="stop")
    assert part.faults([task(), task(accepted(x=[1, "a", {"w": [1]}], y=["", [1, 2]]))]) == []
    told = part.faults([task(None)] * 9)
    assert len(told) == 6
    assert told[-1] == "and 4 more tasks"
    assert Correct(without_answer="schema").faults([task(None)]) == []


def test_an_open_schema_knows_every_argument():
    tool = {"name": "f", "parameters": {"type": "object", "additionalProperties": True}}
    assert Correct(without_answer="stop").faults([task(accepted(z=[1]), tools=(tool,))]) == []
    tool["parameters"]["additionalProperties"] = False
    (told,) = Correct(without_answer="stop").faults([task(accepted(z=[1]), tools=(tool,))])
    assert "has no argument 'z'" in told


@pytest.mark.parametrize(
    ("task", "gold"),
    [
        (task(), "None of the functions fits."),
        (task(accepted(x=[1, 2], y=["a", ""])), '{"name": "f", "arguments": {"x": 1, "y": "a"}}'),
        (task(accepted(x=["", 2], y=["", "a"])), '{"name": "f", "arguments": {"x": 2}}'),  # x is required
        (task(accepted(x=[{"w": [1], "v": ["", 2]}])), '{"name": "f", "arguments": {"x": {"w": 1}}}'),
        (
            task(accepted(x=["è"]) + accepted(x=[[1]])),
            '[{"name": "f", "arguments": {"x": "è"}}, {"name": "f", "arguments": {"x": [1]}}]',
        ),
        (task(accepted(x=[1]), traces=(Trace("f(x=1)"), Trace("no"))), "f(x=1)"),
    ],
)
def test_gold(task, gold):
    part = Correct(without_answer="stop")
    assert part.gold(task) == gold
    assert part([Rollout(task, (), (), (), (), "policy", gold, "end")]) == [1.0]


def test_where_any_call_will_do_nobody_knows_the_gold():
    assert Correct(without_answer="schema").gold(task(None)) is None


def test_a_task_that_cannot_be_scored_fails_and_is_no_zero():
    made = build(compose(["reward=function_calling", "reward.max_failure_rate=1"]).reward)
    good = Rollout(task(), (), (), (), (), "policy", "No.", "end")
    broken = Rollout(task(tools=()), (), (), (), (), "policy", "No.", "end")
    first, second = made.score([good, broken])
    assert first.correct is True
    assert second.value is None
    assert "tools: there are none" in (second.failure or "")


def test_every_part_is_bounded_and_says_its_least_and_most():
    parts = [ValidJson(), Structure(), KnownTool(), Schema(), Values(), Correct(without_answer="stop")]
    rollouts = [Rollout(task(accepted(x=[1])), (), (), (), (), "policy", text, "end") for text in ("f(x=1)", "f(")]
    for part in parts:
        assert part.bounded
        assert part(rollouts) == [part.maximum, part.minimum]

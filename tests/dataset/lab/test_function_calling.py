"""What is held out are other tools; the reward gives an expert full marks and finds every slip."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from llmft.config import build, compose
from llmft.dataset.lab.function_calling import Request, Tool, mistyped, written
from llmft.reward.function_calling.parts import Correct
from llmft.types import Rollout, Splits, Task

TIERS = ("easy", "hard", "mixed", "base")
LAMP = Tool("set_lamp", (("mode", "str"), ("size", "int")))
DOOR = Tool("get_door", (("code", "bool"),))


def load(*overrides: str) -> Splits:
    return build(compose(["dataset=lab_function_calling", *(f"dataset.{one}" for one in overrides)]).dataset).load()


@pytest.fixture(scope="module")
def made() -> dict[str, Splits]:
    few = ("train=250", "heldout=100", "test=100")
    return {tier: load(f"tier={tier}", "heldout_tier=mixed", "traces=sloppy", *few) for tier in TIERS}


def right(*answered: tuple[Task, str]) -> list[bool]:
    """Does the reward call these responses correct?"""
    rollouts = [Rollout(task, (), (), (), (), "policy", text, "end") for task, text in answered]
    return [value == 1.0 for value in Correct(without_answer="stop")(rollouts)]


def of(request: Request) -> Task:
    return Task("1", ({"role": "user", "content": request.prompt(Random(0))},), **request.brings())


def test_a_request_by_hand():
    request = Request((LAMP, DOOR), (LAMP,), (("12", "7"),))
    assert request.prompt(Random(0)) == "set_lamp(mode:str,size:int);get_door(code:bool)\nmode=12 size=7: set lamp\n"
    assert request.answer == '{"name":"set_lamp","arguments":{"mode":"12","size":7}}'
    brought = request.brings()
    assert (brought["kind"], len(brought["tools"])) == ("function_calling", 2)
    assert json.loads(brought["answer"]) == [{"name": "set_lamp", "arguments": {"mode": ["12"], "size": [7]}}]
    assert brought["tools"][0]["parameters"] == {
        "type": "object",
        "properties": {"mode": {"type": "string"}, "size": {"type": "integer"}},
        "required": ["mode", "size"],
    }


def test_two_calls_by_hand():
    request = Request((DOOR, LAMP), (LAMP, DOOR), (("red", "7"), ("yes",)))
    assert request.prompt(Random(0)).endswith("\nmode=red size=7: set lamp, code=yes: get door\n")
    calls = '{"name":"set_lamp","arguments":{"mode":"red","size":7}},{"name":"get_door","arguments":{"code":true}}'
    assert request.answer == f"[{calls}]"
    assert len(json.loads(request.brings()["answer"])) == 2


def test_a_request_that_no_tool_fits_is_answered_with_no_call():
    request = Request((DOOR,), (LAMP,), (("red", "7"),))
    assert (request.answer, request.brings()["answer"]) == ("none", "[]")
    assert right((of(request), "none"), (of(request), written([DOOR.call(("7",))]))) == [True, False]


def test_the_same_calls_of_the_same_tools_are_one_question():
    one = Request((LAMP, DOOR), (LAMP, DOOR), (("12", "7"), ("yes",)))
    assert one.key == Request((DOOR, LAMP), (DOOR, LAMP), (("no",), ("4", "8"))).key
    assert one.key != Request((LAMP, DOOR), (LAMP,), (("12", "7"),)).key
    assert one.key.startswith("get_door(code:bool)|")


@pytest.mark.parametrize(
    "slip",
    [
        '{"name":"get_door","arguments":{"mode":"12","size":7}}',
        '{"name":"set_lamp","arguments":{"mode":12,"size":7}}',
        '{"name":"set_lamp","arguments":{"mode":"12","size":"7"}}',
        '{"name":"set_lamp","arguments":{"mode":"12"}}',
        '{"name":"set_lamp","arguments":{}}',
        "none",
    ],
)
def test_each_slip_is_wrong(slip):
    request = Request((LAMP, DOOR), (LAMP,), (("12", "7"),))
    assert right((of(request), request.answer), (of(request), slip)) == [True, False]


def test_a_mistaken_type_is_another_type():
    assert [mistyped(value) for value in (7, True, False, "12", "red")] == ["7", "yes", "no", 12, ["red"]]


def test_a_careless_writer_makes_every_slip():
    request, rng = Request((LAMP, DOOR), (LAMP,), (("12", "7"),)), Random(0)
    counts = Counter(request.write(0.4, rng)[1] for _ in range(4000))
    assert counts[request.answer] / 4000 == pytest.approx(0.6**3, abs=0.03)  # the tool and two arguments
    names, modes, sizes = set(), set(), set()
    for call in map(json.loads, counts):
        names.add(call["name"])
        modes.add(call["arguments"].get("mode"))
        sizes.add(call["arguments"].get("size"))
    assert (names, modes, sizes) == ({"set_lamp", "get_door"}, {"12", 12, None}, {7, "7", None})


def signature(tool: Mapping[str, Any]) -> tuple[Any, ...]:
    """A tool's name and its parameters with their types."""
    return tool["name"], *((name, of["type"]) for name, of in tool["parameters"]["properties"].items())


def test_no_tool_that_is_held_out_is_ever_seen_in_training(made):
    seen = {
        split: {signature(tool) for splits in made.values() for task in getattr(splits, split) for tool in task.tools}
        for split in ("train", "heldout", "test")
    }
    assert min(map(len, seen.values())) > 200
    assert not seen["train"] & seen["heldout"]
    assert not seen["train"] & seen["test"]
    assert not seen["heldout"] & seen["test"]


@pytest.mark.parametrize("tier", TIERS)
def test_the_expert_is_right_and_a_sloppy_writer_only_where_it_writes_the_same(made, tier):
    experts = load(f"tier={tier}", "train=250", "heldout=1", "test=1").train
    sloppy = made[tier].train
    assert [task.messages for task in experts] == [task.messages for task in sloppy]
    assert all(right(*((task, task.traces[0].text) for task in experts)))
    same = [one.traces[0].text == other.traces[0].text for one, other in zip(experts, sloppy, strict=True)]
    assert same == right(*((task, task.traces[0].text) for task in sloppy))
    assert 0 < sum(same) < len(same) / 2


def test_1_in_5_single_requests_fits_no_tool(made):
    assert 0.14 < sum(task.answer == "[]" for task in made["easy"].train) / 250 < 0.26
    assert not any(task.answer == "[]" for task in made["hard"].train)


def test_whatever_is_written_is_of_the_form_and_fits(made):
    cfg = compose(["dataset=lab_function_calling"]).dataset
    for task in (task for splits in made.values() for task in splits.train):
        assert re.fullmatch(cfg.form_pattern, task.traces[0].text)
        assert len(task.traces[0].text) < cfg.response_tokens

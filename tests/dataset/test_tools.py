"""Tools as rows have them, and as chat templates and rewards get them."""

from __future__ import annotations

import json

import pytest

from llmft.config import build, compose
from llmft.dataset.cells import Unusable
from llmft.dataset.files import Row
from llmft.dataset.tools import as_text, tools
from llmft.types import Rollout

BARE = {"name": "f", "description": "Does.", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}
WRAPPED = {"type": "function", "function": BARE}


def row(held) -> Row:
    return Row(1, "here:1", {"tools": held, "deep": {"tools": held}})


@pytest.mark.parametrize("held", [[BARE], [WRAPPED], BARE, {"function": BARE}])
def test_wrapped_and_bare_as_objects_and_as_text(held):
    assert tools(row(held), "tools") == tools(row(json.dumps(held)), "deep.tools") == (WRAPPED,)


@pytest.mark.parametrize("held", [None, [], "", " ", "[]", "null"])
def test_none(held):
    assert tools(row(held), "tools") == ()
    assert tools(Row(1, "here:1", {}), "tools") == ()


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ("f(x)", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (5, "not a list of tools"),
        (["f"], "not a list of tools"),
    ],
)
def test_anything_else(held, why):
    with pytest.raises(Unusable, match=f"'tools' {why}|'tools' is {why}"):
        tools(row(held), "tools")


def test_a_tables_nulls_are_left_out():
    held = {**BARE, "strict": None, "parameters": {"properties": {"x": {"type": "integer", "enum": None}, "y": None}}}
    held["parameters"]["properties"]["z"] = {"default": None, "enum": ["a", None], "items": {"type": None}}
    (made,) = tools(row([held]), "tools")
    assert made["function"]["parameters"] == {
        "properties": {"x": {"type": "integer", "enum": None}, "z": {"default": None, "enum": ["a", None], "items": {}}}
    }
    assert "strict" not in made["function"]


def test_as_text():
    assert as_text([WRAPPED, {"function": {"name": "é"}}]) == json.dumps(BARE) + '\n{"name": "é"}'


def test_rows_of_chats_with_calls(tmp_path):
    """As Hermes and Glaive publish them: tools as JSON text, the call in the last turn, no answer to compare with."""
    chat = [{"role": "user", "content": "Do f of 3."}, {"role": "assistant", "content": "<tool_call>%s</tool_call>"}]
    chat[1]["content"] %= '{"name": "f", "arguments": {"x": 3}}'
    (tmp_path / "train.jsonl").write_text(json.dumps({"messages": chat, "tools": json.dumps([BARE])}))
    columns = ["prompt_column=null", "answer_column=null", "messages_column=messages", "tools_column=tools"]
    overrides = [f"dataset.{one}" for one in ("kind=function_calling", "heldout=0", f"path={tmp_path}", *columns)]
    cfg = compose(["reward=function_calling", "dataset=rows", "reward.parts.correct.without_answer=schema", *overrides])
    (task,) = build(cfg.dataset).load().train
    reward = build(cfg.reward)
    assert reward.faults([task]) == []
    right, wrong = task.traces[0].text, task.traces[0].text.replace("3", '"3"')
    scores = reward.score([Rollout(task, (), (), (), (), "trace", text, "end") for text in (right, wrong)])
    assert [(score.value, score.correct) for score in scores] == [(2.0, True), (pytest.approx(0.7), False)]

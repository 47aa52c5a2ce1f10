"""The leaderboard's files become tasks: its dialect of types, its answers, its folders."""

from __future__ import annotations

import json

import pytest

from llmft.dataset.bfcl import BFCL, in_json_schema

FUNCTION = {
    "name": "area.of",
    "description": "Area.",
    "parameters": {
        "type": "dict",
        "properties": {
            "type": {"type": "string", "description": "an argument named as a keyword"},
            "base": {"type": "float", "default": 1.0},
            "sides": {"type": "tuple", "items": {"type": "float"}},
            "more": {"type": "dict", "properties": {"any": {"type": "any", "enum": ["dict"]}}},
        },
        "required": ["base"],
    },
}
GOLD = [{"area.of": {"base": [10.0, 10], "type": ["", "dict"]}}, {"area.of": {"base": [2]}}]


FORM = {"answer_form": "{answer}", "form_pattern": None}


def request(number: int, **changes) -> dict:
    said = [[{"role": "user", "content": f"How big is {number}?"}]]
    return {"id": f"simple_{number}", "question": said, "function": [FUNCTION], **changes}


def write(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def bfcl(path, **changes) -> BFCL:
    values = {"category": "simple", "answers": "beside", "system": None, "heldout": 0, "seed": 0, "limit": None}
    values |= {"trace_file": None, **FORM, "base": "none", "response_tokens": 8}
    return BFCL(**{**values, "path": str(path), **changes})


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "BFCL_v4_simple.json", [request(number) for number in range(10)])
    rows = [{"id": f"simple_{number}", "ground_truth": GOLD} for number in reversed(range(10))]
    write(tmp_path / "possible_answer" / "BFCL_v4_simple.json", rows)
    return tmp_path


def test_a_request_becomes_a_task(folder):
    splits = bfcl(folder, heldout=4).load()
    assert (len(splits.train), len(splits.heldout), len(splits.test), len(splits.hashes)) == (6, 4, 0, 2)
    task = min((*splits.train, *splits.heldout), key=lambda task: task.id)
    assert (task.id, task.kind, task.meta["category"]) == ("simple_0", "function_calling", "simple")
    assert task.messages == ({"role": "user", "content": "How big is 0?"},)
    assert json.loads(task.answer) == [
        {"name": "area.of", "arguments": {"base": [10.0, 10], "type": ["", "dict"]}},
        {"name": "area.of", "arguments": {"base": [2]}},
    ]
    (tool,) = task.tools
    assert (tool["type"], tool["function"]["name"]) == ("function", "area.of")


def test_types_are_translated_and_nothing_else():
    assert in_json_schema(FUNCTION)["parameters"] == {
        "type": "object",
        "properties": {
            "type": {"type": "string", "description": "an argument named as a keyword"},
            "base": {"type": "number", "default": 1.0},
            "sides": {"type": "array", "items": {"type": "number"}},
            "more": {"type": "object", "properties": {"any": {"enum": ["dict"]}}},
        },
        "required": ["base"],
    }


def test_a_file_alone_and_answers_beside_it(folder):
    file = folder / "BFCL_v4_simple.json"
    assert len(bfcl(file, category="other").load().train) == 10
    answers = (folder / "possible_answer" / file.name).read_text()
    (folder / "possible_answer" / file.name).rename(folder / "BFCL_v4_simple.answers.json")
    assert answers
    assert len(bfcl(file).load().train) == 10
    (folder / "BFCL_v4_simple.answers.json").unlink()
    with pytest.raises(ValueError, match=r"dataset\.answers=beside: neither .*BFCL_v4_simple\.answers\.json"):
        bfcl(file).load()
    assert {task.answer for task in bfcl(file, answers="no_call").load().train} == {"[]"}


def test_the_newest_version_of_a_folder(folder):
    write(folder / "BFCL_v3_simple.json", [request(99)])
    assert len(bfcl(folder).load().train) == 10
    with pytest.raises(ValueError, match=r"no BFCL_v4_parallel\.json, but BFCL_v3_simple\.json, BFCL_v4_simple\.json"):
        bfcl(folder, category="parallel").load()
    with pytest.raises(ValueError, match="but no file of BFCL"):
        bfcl(folder / "possible", category="simple").load()


def test_tools_in_the_system_prompt(folder):
    task = bfcl(folder, system="You may call:\n{tools}").load().train[0]
    system, user = task.messages
    function = json.dumps(in_json_schema(FUNCTION), ensure_ascii=False)
    assert system == {"role": "system", "content": f"You may call:\n{function}"}
    assert user["role"] == "user"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"id": "simple_77"}, "no answer of id 'simple_77'"),
        ({"question": [[{"role": "user", "content": "a"}]] * 2}, "has 2 turns"),
        ({"question": [["a"]]}, "without role and content"),
        ({"function": []}, "'function' is not a list"),
        ({"function": [{"name": "f"}]}, "'function' has no parameters"),
        ({"function": ["f"]}, "'function' has no parameters"),
    ],
)
def test_what_cannot_be_used(folder, change, why):
    write(folder / "BFCL_v4_simple.json", [request(0), request(1, **change)])
    with pytest.raises(ValueError, match=why) as caught:
        bfcl(folder).load()
    assert "BFCL_v4_simple.json:2: " in str(caught.value)


def test_all_carved_away(folder):
    with pytest.raises(ValueError, match=r"dataset\.heldout=10: none of 10 requests is left"):
        bfcl(folder, heldout=10).load()
    assert len(bfcl(folder, heldout=4, limit=2).load().heldout) == 2


def test_the_leaderboards_own_files(shared):
    path = shared("data/bfcl/BFCL_v4_simple_python.json").parent
    splits = bfcl(path, category="simple_python", heldout=100).load()
    assert (len(splits.train), len(splits.heldout)) == (300, 100)
    splits = bfcl(path, category="irrelevance", answers="no_call", heldout=60).load()
    assert (len(splits.train), len(splits.heldout)) == (177, 60)  # three questions are asked twice

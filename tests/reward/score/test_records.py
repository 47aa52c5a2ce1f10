"""The lines of a file of responses: what they may say, and what is told of those that cannot be used."""

from __future__ import annotations

import json

import pytest

from llmft.config import ConfigError
from llmft.reward.score.records import Recorded, read
from llmft.types import Author, Check

GOOD = {"prompt": "1+1=", "response": "#2", "answer": "2"}


def written(path, *lines, end="\n"):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end)
    return path


def told(path, *lines) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(written(path / "rows.jsonl", *lines))
    return [str(fault) for fault in refused.value.faults]


def test_a_line_that_stands_by_itself(tmp_path):
    ((record,), notes) = read(written(tmp_path / "rows.jsonl", GOOD))
    assert (record.where, record.id, record.texts, record.finish) == ("rows.jsonl:1", None, ("#2",), "end")
    assert record.messages == ({"role": "user", "content": "1+1="},)
    assert record.judged_by == {"answer": "2"}
    assert (record.kind, record.pieces, record.recorded, notes) == (None, (), None, [])


def test_a_line_of_a_run(tmp_path):
    line = {
        "step": 3, "task": "t", "messages": [{"role": "user", "content": "q"}], "answer": None, "response": "ab",
        "source": "policy", "finish": "length", "reward": 0.5, "parts": {"p": 1, "q": 0.0}, "correct": False,
        "failure": None, "advantages": [[0.0, 3]],
        "tokens": [{"author": "trace", "ids": [7], "text": "a"}, {"author": "policy", "ids": [8, 9], "text": "b"}],
    }  # fmt: skip
    ((record,), _) = read(written(tmp_path / "samples.jsonl", line))
    assert (record.id, record.texts, record.finish, record.judged_by) == ("t", ("ab",), "length", {})
    assert record.pieces == ((Author.TRACE, (7,)), (Author.POLICY, (8, 9)))
    assert record.recorded == Recorded(0.5, {"p": 1, "q": 0.0}, False)
    ((failed,), _) = read(written(tmp_path / "samples.jsonl", {**line, "reward": None, "parts": {}, "correct": None}))
    assert failed.recorded == Recorded(None, {}, None)


def test_tests_tools_and_several_responses(tmp_path):
    tool = {"name": "add", "parameters": {}}
    line = {"prompt": "p", "responses": ["a", "b"], "kind": "coding", "tools": [tool], "answer": 4}
    tests = ["assert f(1) == 2", {"call": "f(1)", "expected": None}, {"stdin": "1", "stdout": "2"}]
    ((record,), _) = read(written(tmp_path / "rows.jsonl", {**line, "tests": tests}))
    assert record.texts == ("a", "b")
    assert record.kind == "coding"
    checks = (Check("asserts", "assert f(1) == 2"), Check("call", "f(1)", None), Check("stdio", "1", "2"))
    wrapped = {"type": "function", "function": tool}  # as datasets have them
    assert record.judged_by == {"answer": "4", "tests": checks, "tools": (wrapped,)}
    ((again,), _) = read(written(tmp_path / "rows.jsonl", {**line, "tools": [wrapped]}))
    assert again.judged_by["tools"] == (wrapped,)
    ((one,), _) = read(written(tmp_path / "rows.jsonl", {**line, "tests": "assert f(1) == 2"}))
    assert one.judged_by["tests"] == checks[:1]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "rows.jsonl:1: not JSON (Expecting property name"),
        ("[1]", "rows.jsonl:1: a JSON list; write an object with columns"),
        ({"prompt": "p"}, "rows.jsonl:1 response: there is no response; give a text"),
        ({**GOOD, "responses": ["a"]}, "rows.jsonl:1 response: there are responses too; give a text"),
        ({**GOOD, "response": 3}, "rows.jsonl:1 response=3: no text; write a string"),
        ({"prompt": "p", "responses": []}, "rows.jsonl:1 responses=[]: no text; write a string"),
        ({"prompt": "p", "responses": ["a", None]}, 'rows.jsonl:1 responses=["a", null]: no text'),
        ({"response": "a", "answer": "2"}, "rows.jsonl:1 prompt: nothing says what was asked; give prompt"),
        ({**GOOD, "prompt": ["q"]}, 'rows.jsonl:1 prompt=["q"]: no text; write a string, or a chat as messages'),
        ({**GOOD, "messages": "q"}, "rows.jsonl:1 messages=q: no chat; write a list"),
        ({**GOOD, "messages": [{"content": "q"}]}, 'rows.jsonl:1 messages=[{"content": "q"}]: no chat'),
        ({**GOOD, "answer": [2]}, "rows.jsonl:1 answer=[2]: no text; write a string or a number"),
        ({**GOOD, "answer": True}, "rows.jsonl:1 answer=true: no text"),
        ({**GOOD, "kind": "maths"}, "rows.jsonl:1 kind=maths: there is no such one; one of math, coding"),
        ({**GOOD, "finish": "eos"}, "rows.jsonl:1 finish=eos: there is no such one; one of end, length, stop"),
        ({**GOOD, "tests": [3]}, "rows.jsonl:1 tests=3: no test; write a text with assertions, call and expected, or"),
        ({**GOOD, "tests": [{"call": "f()"}]}, 'rows.jsonl:1 tests={"call": "f()"}: no test'),
        ({**GOOD, "tests": {"call": "f()", "expected": 1, "stdout": ""}}, "rows.jsonl:1 tests="),
        ({**GOOD, "tests": [{"stdin": "f()", "stdout": 1}]}, "rows.jsonl:1 tests="),
        ({**GOOD, "tools": ["add"]}, 'rows.jsonl:1 tools=["add"]: no list of functions'),
        ({**GOOD, "tokens": ["a"]}, 'rows.jsonl:1 tokens=["a"]: not as a run writes them'),
        ({**GOOD, "reward": "1"}, "rows.jsonl:1 reward=1: no number"),
        ({**GOOD, "reward": 1.0, "parts": {"p": "x"}}, 'rows.jsonl:1 parts={"p": "x"}: no numbers by name'),
        ({**GOOD, "reward": 1.0, "correct": 1}, "rows.jsonl:1 correct=1: no truth value; write true, false or null"),
    ],
)
def test_a_bad_line_is_told_with_its_column(tmp_path, line, fault):
    (said,) = told(tmp_path, line)
    assert fault in said


def test_bad_lines_are_told_together_the_first_of_them(tmp_path):
    faults = told(tmp_path, *[{"prompt": "p"}] * 6, GOOD, *["{"] * 9)
    assert len(faults) == 11
    assert faults[5].startswith("rows.jsonl:6 response: ")
    assert faults[6].startswith("rows.jsonl:8: not JSON")
    assert faults[-1] == "and 5 more such faults"


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    records, notes = read(written(tmp_path / "rows.jsonl", GOOD, "", '{"prompt": "2+', end=""))
    assert [record.where for record in records] == ["rows.jsonl:1"]
    assert notes == ["rows.jsonl:3: left out, only its beginning is there"]
    assert len(read(written(tmp_path / "rows.jsonl", GOOD, GOOD, end=""))[0]) == 2


def test_an_empty_file(tmp_path):
    (fault,) = told(tmp_path, "", "")
    assert fault.endswith("rows.jsonl: it has no lines; name a file with responses")

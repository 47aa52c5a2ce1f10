"""Tests of programs in rows."""

from __future__ import annotations

import json

import pytest

from llmft.config import build, compose
from llmft.dataset.cells import Unusable
from llmft.dataset.files import Row
from llmft.dataset.tests import tests as read
from llmft.types import Check


def found(held):
    return read(Row(1, "train.jsonl:1", {"tests": held}), "tests")


ONE = Check("asserts", "assert f(1) == 2")
CALL = {"call": "f(1)", "expected": [2, None]}
STDIO = {"stdin": "1\n", "stdout": "2\n"}


@pytest.mark.parametrize(
    ("held", "checks"),
    [
        (None, ()),
        ([], ()),
        ("assert f(1) == 2", (ONE,)),
        (["assert f(1) == 2", CALL, STDIO], (ONE, Check("call", "f(1)", [2, None]), Check("stdio", "1\n", "2\n"))),
        (CALL, (Check("call", "f(1)", [2, None]),)),
        ({"call": "f()", "expected": None}, (Check("call", "f()", None),)),
        ({"stdin": "", "stdout": ""}, (Check("stdio", "", ""),)),
        (json.dumps([CALL]), (Check("call", "f(1)", [2, None]),)),
        (json.dumps(["assert f(1) == 2"]), (ONE,)),
        ("[f(1)] == 2 or exit()", (Check("asserts", "[f(1)] == 2 or exit()"),)),
        # as a table has them, where each row has every column
        ({**CALL, "stdin": None, "stdout": None}, (Check("call", "f(1)", [2, None]),)),
        ({**STDIO, "call": None, "expected": None}, (Check("stdio", "1\n", "2\n"),)),
    ],
)
def test_what_is_read(held, checks):
    assert found(held) == checks


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (["assert f()", 3], r"'tests\[1\]' is no test: give a text with assertions"),
        ([" "], r"'tests\[0\]' is no test"),
        (5, r"'tests\[0\]' is no test"),
        ({"call": "f(1)"}, r"'tests\[0\]' has call: give"),
        ({"expected": 1}, r"'tests\[0\]' has expected: give"),
        ({"call": "f()", "expected": 1, "stdin": ""}, r"has call, expected, stdin: give"),
        ({"stdin": "1", "stdout": "2", "expected": 3}, r"has expected, stdin, stdout: give"),
        ({"stdin": "1"}, r"has stdin: give"),
        ({"call": "f()", "expectd": 1}, r"has 'expectd': give"),
        ({"call": 3, "expected": 1}, r"has a call that is no text"),
        ({"stdin": 1, "stdout": "2"}, r"has a stdin that is no text"),
        ({}, r"has nothing: give"),
    ],
)
def test_what_cannot_be_used(held, why):
    with pytest.raises(Unusable, match=why):
        found(held)


def mbpp(path, **changes):
    overrides = {
        "path": path,
        "prompt_column": "text",
        "answer_column": "null",
        "tests_column": "test_list",
        "heldout": 0,
    }
    given = {**overrides, "kind": "coding", **changes}
    return build(compose(["dataset=rows", *(f"dataset.{key}={value}" for key, value in given.items())]).dataset)


ROW = {"text": "Add one.", "test_list": ["assert f(1) == 2", "assert f(2) == 3"], "code": "def f(x): return x + 1"}


def test_rows_like_mbpp_s(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps(ROW))
    (task,) = mbpp(tmp_path).load().train
    assert (task.kind, task.answer) == ("coding", None)
    assert task.tests == (ONE, Check("asserts", "assert f(2) == 3"))


def test_parquet_with_tests_in_columns(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{**ROW, "test_list": [STDIO]}, {**ROW, "text": "Two?", "test_list": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    assert [task.tests for task in mbpp(tmp_path).load().train] == [(Check("stdio", "1\n", "2\n"),), ()]


def test_a_fault_names_the_file_the_row_and_the_field(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, "test_list": ["assert 1", {}]}))
    with pytest.raises(ValueError, match=r"\n  train\.jsonl:2: 'test_list\[1\]' has nothing: give a text"):
        mbpp(tmp_path).load()
    with pytest.raises(ValueError, match=r"dataset\.tests_column=test_lst: .* did you mean 'test_list'"):
        mbpp(tmp_path, tests_column="test_lst").load()

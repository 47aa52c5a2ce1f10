"""Traces from a file of their own, for the tasks that ask the same."""

from __future__ import annotations

import hashlib
import json
import logging

import pytest

from llmft.config import build, compose
from llmft.dataset.traces import with_traces
from llmft.types import Splits, Task, Trace


def task(id: str, text: str, *traces: Trace, system: str | None = None) -> Task:
    turns = ({"role": "system", "content": system},) if system else ()
    return Task(id, (*turns, {"role": "user", "content": text}), "math", traces=traces)


SPLITS = Splits(
    train=(task("a", "What is 1+1?", Trace("2", "book")), task("b", "What is 1+2?", system="Add.")),
    heldout=(task("c", "What is 1+3?"),),
    test=(task("d", "What is 1+4?"),),
    hashes={"data": "0"},
)


@pytest.fixture
def file(tmp_path):
    def write(*rows, text="", name="traces.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + text)
        return str(path)

    return write


def row(prompt: str, trace: object = "so it is", **more):
    return {"id": "elsewhere", "prompt": prompt, "trace": trace, **more}


def texts(splits: Splits):
    return [[(trace.text, trace.source) for trace in one.traces] for one in splits.train]


def test_without_a_file_nothing_changes():
    assert with_traces(SPLITS, None) is SPLITS


def test_traces_come_to_the_tasks_that_ask_the_same(file):
    path = file(
        row("What is 1+2?", "3", source="r1", accepted=True),
        row("  what IS\n1+2? ", "also 3", source="v3"),
        row("What is 1+1?", "two"),
        row("What is 9+9?", "18"),
        row("What is 1+3?", "4"),
    )
    made = with_traces(SPLITS, path)
    assert texts(made) == [[("2", "book"), ("two", "data")], [("3", "r1"), ("also 3", "v3")]]
    assert [trace.text for trace in made.heldout[0].traces] == ["4"]
    assert made.test == SPLITS.test
    assert [(one.id, one.messages) for one in made.train] == [(one.id, one.messages) for one in SPLITS.train]
    with open(path, "rb") as content:
        assert made.hashes == {"data": "0", path: hashlib.sha256(content.read()).hexdigest()}


def test_a_text_is_added_once(file):
    path = file(row("What is 1+1?", "2"), row("What is 1+2?", "3"), row("What is 1+2?", "3", source="r1"))
    assert texts(with_traces(SPLITS, path)) == [[("2", "book")], [("3", "data")]]


def test_a_chat_is_compared_without_its_system_prompt(file):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1+2?"}]
    assert texts(with_traces(SPLITS, file({"messages": turns, "trace": "3"})))[1] == [("3", "data")]


def test_what_is_no_use_is_left_out_and_counted(file, caplog):
    rows = [
        row("What is 1+2?", "3"),
        row("What is 1+2?", "4", accepted=False),
        row("What is 1+2?", "  "),
        row("What is 1+2?", None),
        {"trace": "3"},
        {"messages": [{"content": "What is 1+2?"}], "trace": "3"},
    ]
    with caplog.at_level(logging.INFO):
        assert texts(with_traces(SPLITS, file(*rows))) == [[("2", "book")], [("3", "data")]]
    assert "1 not accepted, 2 without a trace, 2 without a prompt" in caplog.text
    assert "traces for 1 of 2 training tasks" in caplog.text


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([row("What is 1+2?", accepted=False)], r"no usable row \(1 not accepted\)"),
        ([{"question": "What is 1+2?", "answer": "3"}], r"no usable row \(1 without a prompt\)"),
        ([row("What is 9+9?")], "none of its 1 questions is one of the 2 training tasks"),
        ([row("What is 1+3?")], "none of its 1 questions"),  # a held-out one alone trains nothing
    ],
)
def test_a_file_of_no_use_is_refused(file, rows, why):
    with pytest.raises(ValueError, match=rf"dataset\.trace_file=.*traces\.jsonl: .*{why}"):
        with_traces(SPLITS, file(*rows))


def test_a_file_that_cannot_be_read_is_refused(file, tmp_path):
    with pytest.raises(ValueError, match=r"dataset\.trace_file=/no/where: there is no such file"):
        with_traces(SPLITS, "/no/where")
    with pytest.raises(ValueError, match=r"dataset\.trace_file: .* is empty"):
        with_traces(SPLITS, file())
    with pytest.raises(ValueError, match=r"1 lines cannot be read, first traces.jsonl:1: not JSON"):
        with_traces(SPLITS, file(text='{"prompt": \n{"prompt": "What is 1+2?", "trace": "3"}\n'))


def test_a_line_that_is_being_written_is_left_out(file, caplog):
    made = with_traces(SPLITS, file(row("What is 1+2?", "3"), text='{"prompt": "What is'))
    assert texts(made)[1] == [("3", "data")]
    assert "traces.jsonl:2, of which only the beginning was written" in caplog.text


def test_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "traces.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row("What is 1+2?", "3", source="r1")]), path)
    assert texts(with_traces(SPLITS, str(path)))[1] == [("3", "r1")]


def test_every_dataset_takes_one(file, tmp_path):
    lab = ["dataset.train=5", "dataset.heldout=2", "dataset.test=2", "dataset.traces=none"]
    first = build(compose(lab).dataset).load().train[0].messages[0]["content"]
    path = file(row(first, "worked"))
    assert [len(one.traces) for one in build(compose([*lab, f"dataset.trace_file={path}"]).dataset).load().train] == [
        1, 0, 0, 0, 0
    ]  # fmt: skip

    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"question": q, "answer": "1"}) + "\n" for q in "ab"))
    rows = ["dataset=rows", f"dataset.path={tmp_path / 'data.jsonl'}", "dataset.heldout=0", "dataset.limit=1"]
    named = file(row("b", "worked"), name="of_b.jsonl")
    made = build(compose([*rows, f"dataset.trace_file={named}"]).dataset).load()
    assert [len(one.traces) for one in made.train] == [0]  # it fits, though a limit leaves its task out
    assert set(made.hashes) == {str(tmp_path / "data.jsonl"), named}

"""Which task a recorded response belongs to."""

from __future__ import annotations

import json

import pytest

from llmft.config import ConfigError
from llmft.reward.score.records import read
from llmft.reward.score.tasks import tasks_of
from llmft.types import Check, Splits, Task


def asked(text, *, system=None):
    turns = [{"role": "system", "content": system}] if system else []
    return (*turns, {"role": "user", "content": text})


TESTS = (Check("call", "f(1)", 2),)
TRAIN = Task("a", asked("what is f?", system="Answer."), "coding", tests=TESTS)
HELD = Task("b", asked("1+1="), "math", answer="2")
LAST = Task("c", asked("2+2="), "math", answer="4")
SPLITS = Splits((TRAIN,), (HELD,), (LAST,))


def tasks(tmp_path, *lines, load=lambda: SPLITS):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"response": "x", **line}) + "\n" for line in lines))
    return tasks_of(read(file)[0], load)


def unread():
    raise ValueError("dataset.path=nowhere: there is no such file")


def test_by_id_and_by_question_over_all_splits(tmp_path):
    lines = [{"task": "a"}, {"id": "c"}, {"prompt": "1+1="}, {"task": "gone", "prompt": "2+2="}]
    found, notes = tasks(tmp_path, *lines, {"messages": asked("what is f?", system="Otherwise put.")})
    assert found == [TRAIN, LAST, HELD, LAST, TRAIN]
    assert notes == []


def test_an_id_of_another_dataset_is_not_taken_for_this_one(tmp_path):
    found, _ = tasks(tmp_path, {"task": "a", "prompt": "1+1="})
    assert found == [HELD]
    with pytest.raises(ConfigError, match=r"rows\.jsonl:1 task=gone: none of the dataset's 3 tasks"):
        tasks(tmp_path, {"task": "gone", "answer": "3"})  # nothing says what was asked
    with pytest.raises(ConfigError) as refused:
        tasks(tmp_path, {"task": "a", "prompt": "3+3="}, {"prompt": "5+5="}, {"task": "d"})
    said = [str(fault) for fault in refused.value.faults]
    assert said[0].startswith(
        "rows.jsonl:1 task=a: the dataset's task of this id asks something else; name the dataset"
    )
    assert said[1].startswith("rows.jsonl:2 prompt=5+5=: none of the dataset's 3 tasks has this id or question; ")
    assert said[2].startswith("rows.jsonl:3 task=d: none of the dataset's 3 tasks has this id or question; ")


def test_a_line_that_stands_by_itself_needs_no_dataset(tmp_path):
    ((one, two), notes) = tasks(tmp_path, {"prompt": "q", "answer": "9"}, {"prompt": "q", "kind": "chat"}, load=unread)
    assert one == Task("rows.jsonl:1", asked("q"), None, answer="9")
    assert two == Task("rows.jsonl:2", asked("q"), "chat")
    assert notes == []


def test_a_named_task_that_stands_by_itself_is_scored_without_the_dataset_and_it_is_said(tmp_path):
    ((one,), notes) = tasks(tmp_path, {"task": "z", "prompt": "q", "answer": "9"}, load=unread)
    assert one == Task("z", asked("q"), None, answer="9")
    assert notes == [
        "the dataset was not read, the lines say what they are judged by (dataset.path=nowhere: there is no such file)"
    ]
    with pytest.raises(ValueError, match="nowhere"):
        tasks(tmp_path, {"task": "z", "prompt": "q", "answer": "9"}, {"task": "a"}, load=unread)


def test_what_a_line_says_itself_counts(tmp_path):
    lines = [{"task": "b", "answer": "2"}, {"task": "b", "answer": "3"}, {"task": "q", "prompt": "p", "answer": "1"}]
    (same, other, stranger), notes = tasks(tmp_path, *lines)
    assert (same, other.answer, other.kind, stranger.answer) == (HELD, "3", "math", "1")
    assert notes == [
        "lines whose task the dataset does not have, judged by what they say themselves: 1",
        "lines that say something else than the dataset, which is what counts: 1",
    ]

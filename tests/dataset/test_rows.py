"""Rows of files become tasks; what cannot be read is said with its place."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.dataset.rows import Rows, apart, question
from llmft.types import Task

GSM8K = {
    "name": None,
    "prompt_column": "question",
    "answer_column": "answer",
    "trace_column": "answer",
    "messages_column": None,
    "id_column": None,
    "kind": "math",
    "answer_pattern": r"####\s*(.+)",
    "answer_form": "#### {answer}",
    "form_pattern": None,
    "system": None,
    "heldout": 0,
    "seed": 0,
    "on_bad_row": "stop",
    "limit": None,
    "base": "none",
    "response_tokens": 64,
}


def rows(path, **changes) -> Rows:
    return Rows(**{**GSM8K, "path": str(path), **changes})


def row(question: str, answer: str = "steps\n#### 1") -> dict:
    return {"question": question, "answer": answer}


def write(path: Path, values) -> Path:
    path.write_text("".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values))
    return path


def test_a_folder_of_jsonl(tmp_path):
    write(tmp_path / "train.jsonl", [row("How many?", "Two and two.\n#### 4"), row("Why?", "So.\n#### 1,200 ")])
    write(tmp_path / "test.jsonl", [row("When?")])
    splits = rows(tmp_path).load()
    first, second = splits.train
    assert first.id == "train-1"
    assert first.messages == ({"role": "user", "content": "How many?"},)
    assert (first.kind, first.answer, first.meta["row"]) == ("math", "4", "train.jsonl:1")
    assert [trace.text for trace in first.traces] == ["Two and two.\n#### 4"]
    assert (second.id, second.answer) == ("train-2", "1,200")
    assert [task.id for task in splits.test] == ["test-1"]
    assert {Path(name).name: len(digest) for name, digest in splits.hashes.items()} == {
        "train.jsonl": 64,
        "test.jsonl": 64,
    }


@pytest.mark.parametrize(
    ("form", "trace"),
    [
        ("#### {answer}", "Two and two.\n#### 4"),
        (r"\boxed{{answer}}", "Two and two.\n\\boxed{4}"),
        ("A: {answer}", "Two and two.\nA: 4"),
    ],
)
def test_traces_end_in_the_configured_form(tmp_path, form, trace):
    write(tmp_path / "train.jsonl", [row("How many?", "Two and two.\n#### 4")])
    assert rows(tmp_path, answer_form=form).load().train[0].traces[0].text == trace


def test_a_trace_of_another_column_gets_the_answer_once(tmp_path):
    values = [
        {"q": "1?", "a": 4, "t": "Count them."},
        {"q": "2?", "a": 5, "t": "Thus \\boxed{5}, as said."},
    ]
    changes = {"prompt_column": "q", "answer_column": "a", "trace_column": "t", "answer_pattern": None}
    write(tmp_path / "train.jsonl", values)
    train = rows(tmp_path, **changes, answer_form=r"\boxed{{answer}}").load().train
    assert [task.answer for task in train] == ["4", "5"]
    assert [task.traces[0].text for task in train] == ["Count them.\n\\boxed{4}", "Thus \\boxed{5}, as said."]


def test_the_system_prompt_asks_for_the_form(tmp_path):
    write(tmp_path / "train.jsonl", [row("How many?")])
    task = rows(tmp_path, system="End with {form}", answer_form=r"\boxed{{answer}}").load().train[0]
    assert task.messages[0] == {"role": "system", "content": r"End with \boxed{answer}"}
    assert task.messages[1]["role"] == "user"


def test_the_last_answer_in_a_row_counts_and_only_it_is_cut(tmp_path):
    write(tmp_path / "train.jsonl", [row("How many?", "Not\n#### 3\nbut\n#### 4")])
    (task,) = rows(tmp_path, answer_form="A: {answer}").load().train
    assert (task.answer, task.traces[0].text) == ("4", "Not\n#### 3\nbut\nA: 4")


def test_a_chat_keeps_its_own_system_prompt(tmp_path):
    turns = [{"role": "system", "content": "Mine."}, {"role": "user", "content": "Hi"}]
    write(tmp_path / "train.jsonl", [{"turns": turns}])
    chat = {"prompt_column": None, "answer_column": None, "trace_column": None, "messages_column": "turns"}
    assert rows(tmp_path, **chat, system="Yours.").load().train[0].messages == tuple(turns)


def test_chats(tmp_path):
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    write(tmp_path / "train.jsonl", [{"turns": talk}, {"turns": [*talk, {"role": "user", "content": "And?"}]}])
    chat = {"prompt_column": None, "answer_column": None, "trace_column": None, "messages_column": "turns"}
    first, second = rows(tmp_path, **chat, kind="chat").load().train
    assert (first.messages, first.traces[0].text, first.answer) == (tuple(talk[:1]), "Hello!", None)
    assert (len(second.messages), second.traces) == (3, ())


def test_parquet_with_nested_columns(tmp_path):
    import pyarrow
    import pyarrow.parquet

    values = [{"prompt": [{"role": "user", "content": "2+2?"}], "reward_model": {"ground_truth": "4"}}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values), tmp_path / "valid.parquet")
    columns = {
        "prompt_column": None,
        "messages_column": "prompt",
        "answer_column": "reward_model.ground_truth",
        "trace_column": None,
        "answer_pattern": None,
    }
    (task,) = rows(tmp_path / "valid.parquet", **columns).load().train
    assert (task.messages[0]["content"], task.answer) == ("2+2?", "4")


def test_heldout_rows_are_carved_by_the_seed_alone(tmp_path):
    write(tmp_path / "train.jsonl", [row(f"Question {index}?") for index in range(30)])
    one, again, other = (rows(tmp_path, heldout=10, seed=seed).load() for seed in (0, 0, 1))
    assert one == again
    assert (len(one.train), len(one.heldout)) == (20, 10)
    assert [task.id for task in one.heldout] != [task.id for task in other.heldout]
    assert len({task.id for task in one.train + one.heldout}) == 30


def test_a_heldout_file_is_taken_as_it_is(tmp_path):
    for split in ("train", "heldout", "test"):
        write(tmp_path / f"{split}.jsonl", [row(f"{split}?")])
    splits = rows(tmp_path, heldout=10).load()
    assert [task.id for task in splits.heldout] == ["heldout-1"]
    assert [task.id for task in splits.train] == ["train-1"]


def test_test_wins_over_heldout_and_heldout_over_train(tmp_path, caplog):
    write(tmp_path / "train.jsonl", [row("Both  of\tthem?"), row("In held-out?"), row("Mine?")])
    write(tmp_path / "heldout.jsonl", [row("IN HELD-OUT?"), row("in test?"), row("Held?")])
    write(tmp_path / "test.jsonl", [row("both of them?"), row("In test?")])
    with caplog.at_level(logging.WARNING):
        splits = rows(tmp_path).load()
    assert [task.id for task in splits.test] == ["test-1", "test-2"]
    assert [task.id for task in splits.heldout] == ["heldout-1", "heldout-3"]
    assert [task.id for task in splits.train] == ["train-3"]
    assert "left 2 rows out of train" in caplog.text
    assert "left 1 rows out of heldout" in caplog.text


@given(st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=3, max_size=3))
def test_no_question_is_in_two_splits(numbers):
    names = ("train", "heldout", "test")
    splits = {
        name: [Task(f"{name}-{n}", ({"role": "user", "content": f" Is it  {n}? "},), "math") for n in some]
        for name, some in zip(names, numbers, strict=True)
    }
    kept = {name: {question(task) for task in tasks} for name, tasks in apart(splits).items()}
    assert not kept["train"] & kept["heldout"]
    assert not kept["train"] & kept["test"]
    assert not kept["heldout"] & kept["test"]
    everything = {question(task) for tasks in splits.values() for task in tasks}
    assert kept["train"] | kept["heldout"] | kept["test"] == everything


def test_the_limit_caps_each_split(tmp_path):
    write(tmp_path / "train.jsonl", [row(f"{index}?") for index in range(9)])
    write(tmp_path / "test.jsonl", [row(f"test {index}?") for index in range(9)])
    splits = rows(tmp_path, heldout=4, limit=2).load()
    assert [len(splits.train), len(splits.heldout), len(splits.test)] == [2, 2, 2]


def test_own_ids(tmp_path):
    write(tmp_path / "train.jsonl", [{**row("a?"), "n": 7}, {**row("b?"), "n": 8}])
    assert [task.id for task in rows(tmp_path, id_column="n").load().train] == ["7", "8"]
    write(tmp_path / "train.jsonl", [{**row("a?"), "n": 7}, {**row("b?"), "n": 7}])
    with pytest.raises(ValueError, match=r"two rows are '7', second at train\.jsonl:2"):
        rows(tmp_path, id_column="n").load()


BAD = {
    "{not json": "not JSON",
    '["a", "list"]': "a JSON list, not an object",
    '{"question": "no answer here?"}': "it has no 'answer'",
    '{"question": "  ", "answer": "#### 1"}': "'question' is empty",
    '{"question": null, "answer": "#### 1"}': "'question' is empty",
    '{"question": ["x"], "answer": "#### 1"}': "'question' is list, not text",
    '{"question": "x", "answer": "no mark"}': "no answer in 'answer'",
    '{"question": "x", "answer": "####   "}': "no answer in 'answer'",
    '{"question": "cut of': "not JSON",
}


@pytest.mark.parametrize(("line", "why"), BAD.items())
def test_a_bad_row_stops_with_file_and_line(tmp_path, line, why):
    write(tmp_path / "train.jsonl", [row("Fine?"), "", line, row("Also fine?")])
    with pytest.raises(ValueError, match="on_bad_row=stop: 1 rows") as error:
        rows(tmp_path).load()
    assert "train.jsonl:3: " + why in str(error.value)


def test_bad_rows_are_skipped_and_counted(tmp_path, caplog):
    write(tmp_path / "train.jsonl", [row("Fine?"), *BAD, row("Also fine?")])
    with caplog.at_level(logging.WARNING):
        train = rows(tmp_path, on_bad_row="skip").load().train
    assert [task.id for task in train] == ["train-1", f"train-{len(BAD) + 2}"]
    assert f"left out {len(BAD)} rows" in caplog.text
    assert "train.jsonl:2: not JSON" in caplog.text


def test_every_missing_column_is_named_with_the_nearest(tmp_path):
    write(tmp_path / "train.jsonl", [row("Fine?")])
    with pytest.raises(ValueError, match="prompt_column") as error:
        rows(tmp_path, prompt_column="qestion", trace_column="zzz").load()
    assert str(error.value).splitlines() == [
        f"dataset.prompt_column=qestion: {tmp_path}/train.jsonl has no such column, it has question, answer; "
        "did you mean 'question'?",
        f"dataset.trace_column=zzz: {tmp_path}/train.jsonl has no such column, it has question, answer; "
        "name one of them",
    ]


def test_empty_files(tmp_path):
    (tmp_path / "train.jsonl").write_text("\n\n")
    with pytest.raises(ValueError, match=r"train.jsonl is empty"):
        rows(tmp_path).load()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("{}/trian.jsonl", "did you mean '.*train.jsonl'"),
        ("{}/no/folder/x.jsonl", "/no does not exist either"),
        ("train.parquet", "there is no such file or folder"),
        ("./nowhere", "there is no such file or folder"),
    ],
)
def test_a_path_that_does_not_exist(tmp_path, path, why):
    write(tmp_path / "train.jsonl", [row("Fine?")])
    with pytest.raises(ValueError, match=why):
        rows(path.format(tmp_path)).load()


def test_a_folder_without_train(tmp_path):
    write(tmp_path / "data.jsonl", [row("Fine?")])
    with pytest.raises(ValueError, match=r"has no train.jsonl, train.json or train.parquet, it holds data.jsonl"):
        rows(tmp_path).load()


def test_two_files_of_one_split(tmp_path):
    write(tmp_path / "train.jsonl", [row("Fine?")])
    write(tmp_path / "train.json", [row("Fine?")])
    with pytest.raises(ValueError, match=r"train.jsonl and train.json are both its train split"):
        rows(tmp_path).load()


def test_what_is_not_parquet(tmp_path):
    (tmp_path / "train.parquet").write_text("hello")
    with pytest.raises(ValueError, match=r"train.parquet is not Parquet"):
        rows(tmp_path).load()


def test_a_json_array(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps([row("a?"), row("b?")]))
    assert [task.meta["row"] for task in rows(tmp_path).load().train] == ["train.json:row 1", "train.json:row 2"]


def test_nothing_left_to_train_on(tmp_path):
    write(tmp_path / "train.jsonl", [row("a?")])
    with pytest.raises(ValueError, match="no training rows are left of 1 rows"):
        rows(tmp_path, heldout=5).load()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"answer_pattern": "(["}, "not a regular expression"),
        ({"answer_pattern": "####"}, "it needs one group"),
        ({"answer_form": "boxed"}, "lacks {answer}"),
        ({"prompt_column": None}, "prompt_column or"),
        ({"messages_column": "chat"}, "prompt_column or"),
    ],
)
def test_options_that_cannot_be(changes, why):
    with pytest.raises(ValueError, match=why):
        rows("x", **changes)


def test_an_unreachable_hub_name_says_so(monkeypatch):
    import datasets

    def refuse(*_):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ValueError, match="no file or folder here, and as a hub name it gave: no network"):
        rows("openai/gsm8k").load()


def test_a_hub_dataset(monkeypatch):
    import datasets

    def load(path, name):
        assert (path, name) == ("openai/gsm8k", "main")
        return datasets.DatasetDict(
            train=datasets.Dataset.from_list([row("a?"), row("b?")]), test=datasets.Dataset.from_list([row("c?")])
        )

    monkeypatch.setattr(datasets, "load_dataset", load)
    splits = rows("openai/gsm8k", name="main").load()
    assert [task.id for task in splits.train + splits.test] == ["train-1", "train-2", "test-1"]
    assert set(splits.hashes) == {"openai/gsm8k/train", "openai/gsm8k/test"}


def test_gsm8k_as_published(shared):
    folder = shared("data/gsm8k/train.jsonl").parent
    splits = rows(folder, heldout=512).load()
    assert [len(splits.train), len(splits.heldout), len(splits.test)] == [7473 - 512, 512, 1319]
    assert all(task.traces[0].text.endswith(f"\n#### {task.answer}") for task in splits.train)

"""Rows of files become tasks; what cannot be read is said with its place."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from llmft.dataset.rows import Rows
from llmft.types import Trace

GSM8K = {
    "name": None,
    "prompt_column": "question",
    "answer_column": "answer",
    "trace_column": "answer",
    "probs_column": None,
    "more_traces": [],
    "messages_column": None,
    "tools_column": None,
    "tests_column": None,
    "meta_columns": [],
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
    "trace_file": None,
    "stand_in": None,
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


def test_a_trace_of_another_column_stays_as_its_author_wrote_it(tmp_path):
    """A wrong one must not become right by what is written under it."""
    values = [{"q": "1?", "a": 4, "t": "Count them: 5.\n\\boxed{5}"}, {"q": "2?", "a": 5, "t": "Thus 5, as said.\n"}]
    changes = {"prompt_column": "q", "answer_column": "a", "trace_column": "t", "answer_pattern": None}
    write(tmp_path / "train.jsonl", values)
    train = rows(tmp_path, **changes, answer_form=r"\boxed{{answer}}").load().train
    assert [task.answer for task in train] == ["4", "5"]
    assert [task.traces for task in train] == [(Trace(value["t"]),) for value in values]


def test_a_wrong_trace_keeps_its_wrong_answer_in_the_data_s_own_form(tmp_path):
    write(tmp_path / "train.jsonl", [{**row("2+2?", "Two and two.\n#### 4"), "other": "Two, two, one.\n#### 5\n"}])
    (task,) = rows(tmp_path, trace_column="other", more_traces=["answer"]).load().train
    assert (task.answer, [trace.text for trace in task.traces]) == (
        "4",
        ["Two, two, one.\n#### 5\n", "Two and two.\n#### 4"],
    )


THINKING = "<think>\n2+2 is 4.\n</think>\n\\boxed{4}"
PAPERS = {
    "prompt_column": None,
    "messages_column": "prompt",
    "answer_column": "reward_model.ground_truth",
    "answer_pattern": None,
    "answer_form": r"\boxed{{answer}}",
    "trace_column": "target",
}


def paper_row(question: str, **more) -> dict:
    """As in Elliott/Openr1-Math-46k-8192."""
    return {
        "data_source": "",
        "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": question}],
        "target": [{"role": "assistant", "content": THINKING}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "4"},
        "extra_info": {"split": "default", "index": 7},
        **more,
    }


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_papers_rows(suffix, tmp_path):
    probs = [0.5, 0.25, 1]
    values = [
        paper_row("2+2?", target_ds_qwen_7b_probs=probs, target_lst=[THINKING, "It is 5."]),
        paper_row("1+3?", target=None, target_ds_qwen_7b_probs=None, target_lst=None),
    ]
    path = tmp_path / f"train.{suffix}"
    if suffix == "jsonl":
        write(path, values)
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values), path)
    more = {
        "probs_column": "target_ds_qwen_7b_probs",
        "more_traces": ["target_lst"],
        "meta_columns": ["extra_info.index"],
    }
    first, second = rows(path, **PAPERS, **more).load().train
    assert first.messages == ({"role": "system", "content": "Think."}, {"role": "user", "content": "2+2?"})
    assert first.traces == (Trace(THINKING, "data", (0.5, 0.25, 1.0)), Trace(THINKING), Trace("It is 5."))
    assert (first.answer, first.meta["extra_info.index"]) == ("4", 7)
    assert (second.answer, second.traces) == ("4", ())


def test_plain_rows_with_traces(tmp_path):
    values = [
        {"prompt": "2+2?", "answer": 4, "trace": "#4"},
        {"prompt": "1+2?", "answer": 3, "trace": None},
        {"prompt": "?", "answer": 1},
    ]
    write(tmp_path / "train.jsonl", values)
    plain = {"prompt_column": "prompt", "trace_column": "trace", "answer_pattern": None}
    assert [task.traces for task in rows(tmp_path, **plain).load().train] == [(Trace("#4"),), (), ()]


def test_traces_of_several_authors(tmp_path):
    values = {**row("?"), "big": {"solution": "So 1.", "ok": True}, "small": {"solution": "So 2.", "ok": False}}
    write(tmp_path / "train.jsonl", [values])
    columns = {"trace_column": None, "more_traces": ["big.solution", "small.solution"], "meta_columns": ["small.ok"]}
    (task,) = rows(tmp_path, **columns).load().train
    assert task.traces == (Trace("So 1.", "big"), Trace("So 2.", "small"))
    assert task.meta == {"row": "train.jsonl:1", "small.ok": False}


def test_columns_of_traces_are_the_training_file_s(tmp_path):
    write(tmp_path / "train.jsonl", [paper_row("1?")])
    write(tmp_path / "heldout.jsonl", [{"prompt": paper_row("2?")["prompt"], "reward_model": {"ground_truth": "4"}}])
    splits = rows(tmp_path, **PAPERS).load()
    assert (len(splits.train[0].traces), splits.heldout[0].traces) == (1, ())
    with pytest.raises(ValueError, match=r"dataset\.more_traces=target_list") as error:
        rows(tmp_path, **PAPERS, more_traces=["target_list"], meta_columns=["abilty"]).load()
    first, second = str(error.value).splitlines()
    assert first.startswith(f"dataset.more_traces=target_list: {tmp_path}/train.jsonl has no such column")
    assert first.endswith("did you mean 'target'?")
    assert second.endswith("did you mean 'ability'?")


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
        ({"trace_column": None, "probs_column": "p"}, r"dataset\.probs_column=p: they are of the trace in"),
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


SOLVERS = ("175b_verification", "175b_finetuning", "6b_verification", "6b_finetuning")


def test_gsm8k_s_model_solutions_score_as_they_are_labelled(shared):
    """All 5,276, by the reward and the data as they are configured."""
    from llmft.config import build, compose
    from llmft.types import Rollout

    path = shared("data/gsm8k/example_model_solutions.jsonl")
    cfg = compose(["dataset=gsm8k_solutions", f"dataset.path={path}", "reward=math"])
    splits, reward = build(cfg.dataset).load(), build(cfg.reward)
    tasks = splits.train + splits.heldout
    assert reward.faults(tasks) == []
    placed = [(task, trace) for task in tasks for trace in task.traces]
    scores = reward.score([Rollout(task, (1,), (), (), (), "trace", trace.text, "end") for task, trace in placed])
    labels = [task.meta[f"{trace.source}.is_correct"] for task, trace in placed]
    assert [score.correct for score in scores] == labels
    assert (len(labels), sum(labels)) == (5276, 2001)
    shares = {
        name: [label for (_, trace), label in zip(placed, labels, strict=True) if trace.source == name]
        for name in SOLVERS
    }
    assert [round(sum(of) / 1319, 2) for of in shares.values()] == [0.56, 0.35, 0.39, 0.22]


def test_the_stand_in_is_of_the_shape_that_the_papers_rows_have():
    from llmft.config import build, compose
    from llmft.model.characters import character_tokenizer
    from llmft.types import Rollout

    cfg = compose(
        ["dataset=openr1_math", "dataset.path=${dataset.stand_in}", "dataset.more_traces=[target_lst]", "reward=math"]
    )
    splits, reward = build(cfg.dataset).load(), build(cfg.reward)
    assert 16 <= len(splits.train) <= 32
    assert reward.faults([*splits.train, *splits.heldout]) == []
    without = [task for task in splits.train if not task.traces]
    assert len(without) == 1
    several = [task for task in splits.train if len({trace.text for trace in task.traces}) > 1]
    assert len(several) == 1
    for task in (*splits.train, *splits.heldout):
        assert [turn["role"] for turn in task.messages] == ["system", "user"]
        asked = sum(len(turn["content"]) for turn in task.messages)
        for trace in task.traces:
            assert trace.text.startswith("<think>\n")
            assert trace.text.count("</think>") == 1
            assert asked + len(trace.text) + 2 <= 512  # the context of the model that stands in
            assert character_tokenizer().decode(character_tokenizer()(trace.text).input_ids) == trace.text
            row = Rollout(task, (1,), (), (), (), "trace", trace.text.split("</think>")[1], "end")
            assert reward.score([row])[0].correct or task in several


TOOL = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}
CALLS = {"kind": "function_calling", "tools_column": "tools", "answer_pattern": None, "trace_column": None}


def test_tools(tmp_path):
    listed = [{**row("One?", "[]"), "tools": [TOOL]}, {**row("Two?", "[]"), "tools": json.dumps([TOOL])}]
    write(tmp_path / "train.jsonl", [*listed, {**row("Three?", "[]"), "tools": None}])
    system = "You may call:\n{tools}\nEnd with {form}"
    first, second, third = rows(tmp_path, **CALLS, system=system).load().train
    assert first.tools == second.tools == ({"type": "function", "function": TOOL},)
    assert third.tools == ()
    assert first.messages[0]["content"] == f"You may call:\n{json.dumps(TOOL)}\nEnd with #### answer"
    assert (first.kind, first.answer) == ("function_calling", "[]")


def test_tools_that_are_none(tmp_path):
    write(tmp_path / "train.jsonl", [{**row("One?", "[]"), "tools": "f(x)"}])
    with pytest.raises(ValueError, match=r"train\.jsonl:1: 'tools' is not JSON"):
        rows(tmp_path, **CALLS).load()
    with pytest.raises(ValueError, match=r"dataset\.tools_column=tool: .*did you mean 'tools'"):
        rows(tmp_path, **{**CALLS, "tools_column": "tool"}).load()
    with pytest.raises(ValueError, match=r"dataset\.system: there are no \{tools\} to put in"):
        rows(tmp_path, system="{tools}")

"""``python -m llmft.guidance.collect``: the file that it makes, and makes on."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from chat_server import completion, free_port, refusal, serving
from collecting import LAB, asks, expert, worked
from lives import train_module
from small_runs import KINDS, SMALL, summary

from llmft.config import build, check, compose, settings, snapshot
from llmft.trainer.start import Start


def by_last_digit(number, body):
    """Right, wrong, cut off or thought about, by the first number's last digit."""
    question = body["messages"][-1]["content"]
    digit = int(question.partition("+")[0][-1])
    if digit < 3:
        return completion(worked(question, wrong=True))
    if digit < 6:
        return completion(worked(question), finish="length")
    return completion(worked(question), **({"reasoning_content": "column by column"} if digit < 8 else {}))


def digit(row) -> int:
    return int(row["prompt"].partition("+")[0][-1])


def test_the_file(collect, accepted, rejected):
    with serving(by_last_digit) as server:
        code, said = collect(*asks(server.url, "--price-in", "2", "--price-out", "8"))
    assert code == 0
    assert [len(server.bodies), len(accepted()) + len(rejected())] == [20, 20]
    assert all(digit(row) >= 6 for row in accepted())
    assert Counter(row["verdict"] for row in rejected()) == Counter(
        "rejected" if digit(row) < 3 else "cut off" for row in rejected()
    )
    thoughtful = {
        row["prompt"] for row in accepted() if row["trace"].startswith("<think>\ncolumn by column\n</think>\n")
    }
    assert thoughtful == {row["prompt"] for row in accepted() if digit(row) < 8}
    tasks = {task.id: task for task in build(compose(LAB).dataset).load().train}
    for row in accepted():
        assert row["prompt"] == tasks[row["id"]].messages[0]["content"]
        assert row["answer"] == tasks[row["id"]].answer
        assert row["trace"].endswith("#" + row["answer"])
        assert (row["source"], row["accepted"], row["reward"], row["sample"]) == ("r1", True, 1.0, 0)
        assert row["length"] == len(row["trace"]) + 1
        assert (row["prompt_tokens"], row["answer_tokens"], row["cost"]) == (10, 5, 60e-6)
    assert f"20 answers: {len(accepted())} accepted" in said
    assert f"({len(accepted()) / 20:.0%}); 200 + 100 tokens, cost 0.0012" in said


def test_a_second_run_asks_nothing(collect, accepted):
    with serving(by_last_digit) as server:
        collect(*asks(server.url))
        before = accepted()
        code, said = collect(*asks(server.url))
        assert (code, len(server.bodies)) == (0, 20)
        assert accepted() == before
        assert "asked now:  0 answers" in said
        assert "in the file: 20 answers" in said
        collect(*asks(server.url, "--temperature", "0.5"))  # what was rejected may fare better
        again = [body for body in server.bodies[20:] if digit({"prompt": body["messages"][-1]["content"]}) < 6]
        assert len(server.bodies) == 20 + len(again) == 40 - len(before)


def test_more_samples_ask_only_for_those(collect, accepted):
    with serving(expert) as server:
        collect(*asks(server.url, "--tasks", "4", "--samples", "2", "--concurrency", "1"))
        assert [row["sample"] for row in accepted()] == [0] * 4 + [1] * 4  # one of each comes first
        assert collect(*asks(server.url, "--tasks", "5", "--samples", "3"))[0] == 0
    assert len(server.bodies) == 15
    assert sorted(Counter(row["id"] for row in accepted()).values()) == [3] * 5


@pytest.mark.parametrize("failure", ["drop", "half", "hang", refusal(500), (200, {}, b"<html>"), completion("")])
def test_an_endpoint_that_stops_half_way(collect, accepted, failure):
    with serving(lambda n, body: expert(n, body) if n < 8 else failure) as server:
        code, said = collect(*asks(server.url, "--concurrency", "2", "--timeout", "0.2"))
    assert code == 1
    assert len(accepted()) == 8
    assert "questions in a row were not answered" in said
    assert "kept in" in said
    assert "run the same command again" in said
    with serving(expert) as server:
        assert collect(*asks(server.url))[0] == 0
    assert len(server.bodies) == 12
    assert sorted(Counter(row["id"] for row in accepted()).values()) == [1] * 20


def test_an_endpoint_that_is_not_there(collect, tmp_path):
    code, said = collect(*asks(f"http://127.0.0.1:{free_port()}/v1"))
    assert code == 1
    assert "ConnectError" in said
    assert "Nothing was collected; run the same command again" in said
    assert not list(tmp_path.iterdir())


def test_the_cost_of_useless_answers_is_told(collect, accepted):
    with serving(lambda n, body: completion("", usage=(1000, 0)) if n == 0 else expert(n, body)) as server:
        _, said = collect(*asks(server.url, "--tasks", "3", "--price-in", "1000", "--price-out", "0"))
    assert "asked now:  3 answers: 3 accepted (100%); 1,030 + 15 tokens, cost 1.0300" in said
    assert sum(row["cost"] for row in accepted()) == pytest.approx(0.03)


def test_answers_without_counts_are_told(collect, accepted):
    with serving(lambda n, body: completion(worked(body["messages"][-1]["content"]), usage=None)) as server:
        _, said = collect(*asks(server.url, "--tasks", "3", "--price-in", "1", "--price-out", "1"))
    assert "3 answers came without token counts" in said
    assert {row["cost"] for row in accepted()} == {None}


def test_the_key_is_sent_and_written_nowhere(collect, monkeypatch, tmp_path):
    monkeypatch.setenv("R1_KEY", " sk-secret-1\n")
    with serving(lambda n, body: expert(n, body) if n < 3 else refusal(401, "bad key sk-secret-1")) as server:
        code, said = collect(*asks(server.url, "--key-env", "R1_KEY", "--concurrency", "1"))
    assert {headers["authorization"] for headers in server.headers} == {"Bearer sk-secret-1"}
    assert code == 1
    assert "bad key ***; look at the key in $R1_KEY" in said
    assert len(server.bodies) == 4
    assert "sk-secret-1" not in said + "".join(path.read_text() for path in tmp_path.iterdir())


def test_what_a_teacher_is_told(collect):
    told = ["--system", "Show the columns.", "--max-tokens", "64", "--temperature", "0.6", "--body", '{"top_p": 0.9}']
    with serving(expert) as server:
        collect(*asks(server.url, "--tasks", "1", *told))
    (body,) = server.bodies
    assert body["messages"][0] == {"role": "system", "content": "Show the columns."}
    assert [turn["role"] for turn in body["messages"]] == ["system", "user"]
    assert (body["model"], body["max_tokens"], body["temperature"], body["top_p"]) == ("r1", 64, 0.6, 0.9)


def test_a_file_that_is_yet_to_be_made_may_be_named_already(collect, accepted, tmp_path):
    with serving(expert) as server:
        collect(*asks(server.url, "--tasks", "2"), lab=[*LAB, f"dataset.trace_file={tmp_path / 'traces.jsonl'}"])
    assert len(accepted()) == 2


def test_keeping_more(collect, accepted, rejected):
    with serving(by_last_digit) as server:
        collect(*asks(server.url, "--min-reward", "0"))
        assert all(row["verdict"] == "cut off" for row in rejected())
        assert all(not 3 <= digit(row) < 6 for row in accepted())
        collect(*asks(server.url, "--min-reward", "0", "--keep-all", "--temperature", "1"))
    assert {row["accepted"] for row in accepted()} == {True, False}


def test_nothing_accepted_is_no_success(collect, tmp_path):
    with serving(lambda n, body: completion("42")) as server:
        code, said = collect(*asks(server.url))
    assert code == 1
    assert f"accepted no answer; look at why in {tmp_path / 'traces.rejected.jsonl'}" in said


def test_answers_that_a_run_has_no_room_for_are_counted(collect):
    with serving(expert) as server:
        _, said = collect(*asks(server.url, "rollout.max_new_tokens=10"))
    assert "20 accepted answers have more than the 10 tokens of rollout.max_new_tokens" in said


def test_the_file_is_a_dataset(collect, accepted, tmp_path):
    with serving(by_last_digit) as server:
        collect(*asks(server.url))
    named = ["prompt_column=prompt", "trace_column=trace", f"path={tmp_path / 'traces.jsonl'}", "heldout=0"]
    cfg = compose(["dataset=rows", "dataset.answer_form='#{answer}'", *[f"dataset.{one}" for one in named]])
    tasks = build(cfg.dataset).load().train
    assert [task.traces[0].text for task in tasks] == [row["trace"] for row in accepted()]
    assert [task.answer for task in tasks] == [row["answer"] for row in accepted()]


def test_what_was_collected_is_trained_on(collect, accepted, tmp_path, tiny_folder, monkeypatch):
    from llmft.trainer import curves

    monkeypatch.setattr(curves, "draw", lambda *_: None)
    with serving(by_last_digit) as server:
        collect(*asks(server.url))
    file, folder = tmp_path / "traces.jsonl", tmp_path / "run"
    asked = [*SMALL, f"model.path={tiny_folder}", *KINDS["sft"], "trainer.max_steps=2", "algorithm.tasks_per_step=2"]
    asked += ["dataset.traces=none", "algorithm.without_trace=skip", f"dataset.trace_file={file}", "dataset.train=20"]
    asked += ["evaluation.perplexity=false", "objective=train/loss"]
    cfg = compose(asked)
    check(cfg)
    folder.mkdir()
    train_module().fit(cfg, Start(folder, snapshot(cfg), settings(cfg), tuple(asked), {"model": "hf"}, None))
    assert summary(folder)["status"] == "completed"
    assert str(file) in json.loads((folder / "manifest.json").read_text())["files"]["data"]
    traces = {row["trace"].replace("\n", "") for row in accepted()}
    trained = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert trained
    for line in trained:
        text = "".join(part["text"] for part in line["tokens"])
        assert any(trace[:20] in text.replace("\n", "") for trace in traces)

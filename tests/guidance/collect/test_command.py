"""``python -m llmft.guidance.collect``: the file that it makes, and makes on."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from copy import deepcopy
from functools import cache

import pytest
from chat_server import completion, free_port, refusal, serving
from lives import train_module
from small_runs import KINDS, SMALL, summary

from llmft.config import ROOT, build, check, compose, settings, snapshot
from llmft.dataset.lab.addition import Sum
from llmft.guidance.collect import command as command_module
from llmft.trainer.start import Start

LAB = ["model=scratch", "dataset.train=20", "dataset.heldout=2", "dataset.test=2"]
BASE = "bases/lab_addition_seed1"
QUICK = ["--backoff", "0.01", "--retries", "1"]


@cache
def composed(*overrides: str):
    return compose(overrides)


@pytest.fixture
def collect(monkeypatch, capsys, tmp_path):
    """``collect(*arguments)``: the exit code and what was said, of one run of the command."""
    monkeypatch.setattr(command_module, "compose", lambda overrides: deepcopy(composed(*overrides)))  # 0.3 s each
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str, lab=LAB) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["collect", "--out", str(tmp_path / "traces.jsonl"), *arguments, *lab])
        try:
            code = command_module.main()
        except SystemExit as left:
            code = left.code
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture
def accepted(tmp_path):
    return lambda: rows(tmp_path / "traces.jsonl")


@pytest.fixture
def rejected(tmp_path):
    return lambda: rows(tmp_path / "traces.rejected.jsonl")


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def asks(url, *more):
    return ["--endpoint", url, "--model", "r1", *QUICK, *more]


def worked(question: str, *, wrong=False) -> str:
    """The working of a sum, as the lab's expert writes it."""
    a, b = map(int, question.rstrip("=").split("+"))
    working, answer = Sum(a, b).write(0.0, random.Random(0))
    return f"{working}#{int(answer) + wrong}"


def expert(number, body):
    return completion(worked(body["messages"][-1]["content"]))


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


@pytest.mark.parametrize(
    ("lab", "said"),
    [
        (["dataset=gsm8k", "dataset.path=/no/data", "model=scratch"], "dataset.path=/no/data"),
        (["model=hf", "model.path=/no/model"], "model.path=/no/model"),
        (["model=hf", "model.path=no/model"], "no/model"),
        ([*LAB, "dataset.traces=some"], "dataset.traces"),
    ],
)
def test_what_is_not_there_is_told(collect, lab, said):
    code, told = collect(*asks("http://h/v1"), lab=lab)
    assert code == 2
    assert said in told


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "ftp://h/v1", "--model", "r1"], "--endpoint=ftp://h/v1: it is no address"),
        (["--endpoint", "http://", "--model", "r1"], "it is no address"),
        (["--endpoint", "http://h:x/v1", "--model", "r1"], "it is no address"),
        (["--endpoint", "http://me:sk-1@h/v1", "--model", "r1"], "put the key into an environment variable"),
        (["--endpoint", "http://h/v1"], "--model=null: the endpoint has to be told a model"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--key-env", "NO_SUCH"], "--key-env=NO_SUCH: there is no such"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--body", "{"], "--body={: not JSON"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--body", "[]"], "not a JSON object"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--body", '{"stream": true}'], "stream is not for it to say"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--price-in", "1"], "a cost needs both"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--out", "x.txt"], "name a .jsonl"),
        (["--own", "--temperature", "1"], "--temperature=1.0: with --own there is no endpoint to tell"),
        (["--own", "--endpoint", "http://h/v1"], "not allowed with"),
        ([], "one of the arguments --endpoint --own is required"),
        (["--own", "--samples", "0"], "0: it must be 1 or more"),
        (["--own", "--timeout", "0"], "0: it must be more than 0"),
        (["--own", "--timeout", "nan"], "nan: it must be more than 0"),
        (["--own", "--samples", "x"], "invalid int value: 'x'"),
        (["--own", "dataset=lab_additon"], "lab_addition"),
        (["--own", "reward.success_at=high"], "reward.success_at"),
    ],
)
def test_what_is_typed_wrong_is_told_before_anything_is_asked(collect, tmp_path, arguments, said):
    code, told = collect(*arguments)
    assert code == 2
    assert said in told
    assert "sk-1" not in told
    assert not list(tmp_path.iterdir())


def test_a_key_that_can_be_none_is_refused_unseen(collect, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1\nsk-2")
    code, said = collect(*asks("http://h/v1"))
    assert code == 2
    assert "$OPENAI_API_KEY: what it holds cannot be a key" in said
    assert "sk-" not in said


def test_own_samples_are_the_good_ones_of_the_models(collect, accepted, rejected):
    own = [f"model.path={BASE}", "model=hf", "model.dtype=float32", *LAB[1:]]
    assert collect("--own", "--samples", "4", lab=own)[0] == 0
    assert len(accepted()) + len(rejected()) == 80
    assert 0.15 < len(accepted()) / 80 < 0.7  # as the base's test says of single samples
    assert all(row["trace"] == worked(row["prompt"]) for row in accepted() if row["trace"].count(",") == 2)
    assert all(row["trace"].rpartition("#")[2] == row["answer"] for row in accepted())
    assert not any(row["trace"].rpartition("#")[2] == row["answer"] for row in rejected())
    assert {row["source"] for row in accepted()} == {BASE}


def test_own_samples_are_made_on_as_if_undisturbed(collect, accepted, rejected, tmp_path):
    own = [f"model.path={BASE}", "model=hf", "model.dtype=float32", *LAB[1:]]
    collect("--own", "--samples", "4", lab=own)
    whole, bad = accepted(), rejected()
    path = tmp_path / "traces.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:5]) + b'{"id": "addi')
    (tmp_path / "traces.rejected.jsonl").unlink()
    code, said = collect("--own", "--samples", "4", lab=own)
    assert code == 0
    assert "of which only the beginning was written" in said
    assert (accepted(), rejected()) == (whole, bad)


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


# ---------------------------------------------------------------- processes


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "llmft.guidance.collect", *arguments]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code", "moments"), [(signal.SIGKILL, -9, (5, 20)), (signal.SIGTERM, 143, (10,))])
def test_an_end_at_any_moment_costs_no_answer_that_was_written(tmp_path, number, code, moments):
    out, at_once = tmp_path / "traces.jsonl", 3

    def slowly(n, body):
        time.sleep(0.05)
        return expert(n, body)

    with serving(slowly) as server:
        asked = command(*asks(server.url, "--out", str(out), "--concurrency", str(at_once)), *LAB, "dataset.train=60")
        for ends in moments:
            life = subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while len(rows(out)) < ends and life.poll() is None:
                time.sleep(0.01)
            life.send_signal(number)
            _, said = life.communicate(timeout=30)
            assert life.returncode == code
            assert number == signal.SIGKILL or "run the same command again" in said
        written = out.read_bytes()
        assert subprocess.run(asked, cwd=ROOT, capture_output=True).returncode == 0
    assert out.read_bytes().startswith(written)
    assert sorted(Counter(row["id"] for row in rows(out)).values()) == [1] * 60
    assert len(server.bodies) <= 60 + len(moments) * at_once  # what was under way was not yet written


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`transformers serve` with the lab's model."""
    port, log = free_port(), tmp_path_factory.mktemp("serve") / "log"
    serve = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", BASE]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("w") as file:
        process = subprocess.Popen([*serve, *options], cwd=ROOT, stdout=file, stderr=file)
    import httpx

    try:
        for _ in range(240):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_a_real_server_answers_what_the_model_says(served, collect, accepted, rejected, tmp_path):
    """Greedy answers by `transformers serve` are those of our own sampler, and the reward accepts the same ones."""
    own = [f"model.path={BASE}", "model=hf", "model.dtype=float32", *LAB[1:]]
    asked = ["--endpoint", served, "--model", BASE, "--max-tokens", "48", "--temperature", "0", "--concurrency", "4"]
    code, said = collect(*asked, lab=own)
    assert code == 0, said
    answers = {row["prompt"]: (row["trace"], row["accepted"]) for row in [*accepted(), *rejected()]}
    assert len(answers) == 20
    assert all(row["answer_tokens"] == row["length"] for row in accepted())
    assert collect(*asked, lab=own)[1].count("asked now:  0 answers") == 1

    other = tmp_path / "other.jsonl"
    collect("--own", "rollout.temperature=0", "--keep-all", "--out", str(other), lab=own)
    assert {row["prompt"]: (row["trace"], row["accepted"]) for row in rows(other)} == answers


@pytest.mark.slow
def test_a_real_server_refuses_another_model(served, collect):
    code, said = collect("--endpoint", served, "--model", "no/such", "--tasks", "2")
    assert code == 1
    assert "it answered 400" in said
    assert "look at --model" in said

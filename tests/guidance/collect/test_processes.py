"""The command as a process that is ended, and a real server as the endpoint."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from chat_server import free_port, serving
from collecting import BASE, LAB, OWN, asks, expert, rows

from llmft.config import ROOT


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
    asked = ["--endpoint", served, "--model", BASE, "--max-tokens", "48", "--temperature", "0", "--concurrency", "4"]
    code, said = collect(*asked, lab=OWN)
    assert code == 0, said
    answers = {row["prompt"]: (row["trace"], row["accepted"]) for row in [*accepted(), *rejected()]}
    assert len(answers) == 20
    assert all(row["answer_tokens"] == row["length"] for row in accepted())
    assert collect(*asked, lab=OWN)[1].count("asked now:  0 answers") == 1

    other = tmp_path / "other.jsonl"
    collect("--own", "rollout.temperature=0", "--keep-all", "--out", str(other), lab=OWN)
    assert {row["prompt"]: (row["trace"], row["accepted"]) for row in rows(other)} == answers


@pytest.mark.slow
def test_a_real_server_refuses_another_model(served, collect):
    code, said = collect("--endpoint", served, "--model", "no/such", "--tasks", "2")
    assert code == 1
    assert "it answered 400" in said
    assert "look at --model" in said

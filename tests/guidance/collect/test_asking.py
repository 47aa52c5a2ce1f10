"""Many questions to one endpoint: several at a time, each once, and when nothing more is asked."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from chat_server import completion, endpoint, refusal, serving

from llmft.endpoint.asker import Asker
from llmft.guidance.collect.asking import PATIENCE, Ended, Question, Stop, ask_all
from llmft.types import Task


def questions(count: int):
    for place in range(count):
        messages = ({"role": "user", "content": f"{place}+1="},)
        yield Question(Task(f"t{place}", messages, "math"), 0, messages)


def asked(answer, *, count=12, take=lambda question, reply: True, has_answered=True, **changes):
    with serving(answer) as server:
        return server, ask_all(
            Asker(endpoint(server.url, **changes)), questions(count), take, has_answered=has_answered
        )


def test_each_question_is_asked_once_and_answered_with_its_own_answer():
    taken = {}

    def take(question, reply):
        taken[question.messages[-1]["content"]] = reply.text
        return True

    server, ended = asked(lambda n, body: completion("#" + body["messages"][-1]["content"]), take=take)
    assert ended == Ended("", 0, [])
    assert sorted(server.questions) == sorted(f"{place}+1=" for place in range(12))
    assert taken == {f"{place}+1=": f"#{place}+1=" for place in range(12)}


@pytest.mark.parametrize("connections", [1, 4])
def test_so_many_at_a_time(connections):
    now, most, lock = [0], [0], threading.Lock()

    def slow(n, body):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.1)
        with lock:
            now[0] -= 1
        return completion("#2")

    asked(slow, connections=connections)
    assert most[0] == connections


def test_a_question_that_is_not_answered_does_not_hold_up_the_others():
    server, ended = asked(
        lambda n, body: refusal(500, "poison") if body["messages"][-1]["content"] == "3+1=" else completion("#")
    )
    assert (ended.why, ended.code) == ("", 0)
    assert [one.partition(":")[0] for one in ended.unanswered] == ["task 't3'"]
    assert "500, poison" in ended.unanswered[0]
    assert len(set(server.questions)) == 12


def test_an_endpoint_that_is_not_there_any_more():
    server, ended = asked(lambda n, body: completion("#") if n < 6 else "drop", count=100, retries=1, connections=1)
    assert ended.why.startswith(f"{PATIENCE} questions in a row were not answered; the last: the connection failed")
    assert len(ended.unanswered) == PATIENCE
    assert len(server.bodies) == 6 + 2 * PATIENCE


def test_an_answer_in_between_is_a_sign_of_life():
    _, ended = asked(
        lambda n, body: completion("#") if n % 4 == 3 else refusal(500), count=40, retries=0, connections=1
    )
    assert ended.why == ""
    assert len(ended.unanswered) == 30


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_key_that_is_refused_ends_it_at_once(status):
    server, ended = asked(lambda n, body: completion("#") if n < 2 else refusal(status), count=50, connections=1)
    assert f"answered {status}" in ended.why
    assert len(server.bodies) == 3


def test_a_request_that_was_never_answered_ends_it_at_once():
    server, ended = asked(lambda n, body: refusal(400, "no such model"), connections=1, has_answered=False)
    assert "no such model" in ended.why
    assert len(server.bodies) == 1


def test_a_request_that_was_answered_before_is_refused_for_its_question():
    def answer(n, body):
        return refusal(400, "too long") if body["messages"][-1]["content"] == "3+1=" else completion("#")

    server, ended = asked(answer, connections=1, has_answered=False)
    assert ended.why == ""
    assert len(ended.unanswered) == 1
    assert len(server.bodies) == 12


def test_a_reward_that_fails_again_and_again_ends_it():
    server, ended = asked(lambda n, body: completion("#"), connections=1, take=lambda question, reply: False)
    assert "the reward failed" in ended.why
    assert len(server.bodies) == PATIENCE


def test_who_takes_answers_may_end_it():
    def take(question, reply):
        raise Stop("the disk is full")

    server, ended = asked(lambda n, body: completion("#"), connections=1, take=take)
    assert ended.why == "the disk is full"
    assert len(server.bodies) == 1


def test_a_judge_who_takes_long_makes_no_answer_late():
    """Eight answers come at once and are judged for 0.1 s each; none of them is asked for again."""
    server, ended = asked(lambda n, body: completion("#"), count=16, connections=8, timeout_s=0.5, take=slow_judge)
    assert ended == Ended("", 0, [])
    assert len(server.bodies) == 16


def slow_judge(question, reply) -> bool:
    time.sleep(0.1)
    return True


def test_what_was_answered_is_taken_though_the_asking_ends():
    taken = []

    def take(question, reply):
        if not taken:
            time.sleep(0.5)  # the others' answers come meanwhile
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
        taken.append(question.task.id)
        return True

    _, ended = asked(lambda n, body: completion("#"), count=40, connections=4, take=take)
    assert ended == Ended("interrupted", 143, [])
    assert sorted(taken) == ["t0", "t1", "t2", "t3"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_within_a_wait_and_is_put_back(number, code):
    before = signal.getsignal(number)
    taken = []

    def take(question, reply):
        taken.append(question)
        if len(taken) == 3:
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        return True

    began = time.monotonic()
    _, ended = asked(lambda n, body: completion("#") if n < 3 else "hang", take=take, timeout_s=60)
    assert ended == Ended("interrupted", code, [])
    assert len(taken) == 3
    assert time.monotonic() - began < 10
    assert signal.getsignal(number) == before

"""What is sent to an endpoint, what is tried again, and what ends the asking: over real sockets."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from chat_server import completion, endpoint, free_port, refusal, serving

from llmft.endpoint.asker import Asker, Endpoint, GaveUp, Refused
from llmft.endpoint.reply import Usage

QUESTION = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1="}]


def ask(one: Endpoint, asker: Asker | None = None):
    async def asked():
        async with asker or Asker(one) as connected:
            return await connected.ask(QUESTION)

    return asyncio.run(asked())


def after(*failures):
    """An answer after these failures."""
    return lambda number, body: failures[number] if number < len(failures) else completion("#2")


def test_what_is_sent():
    with serving(after()) as server:
        reply = ask(endpoint(server.url, key="sk-1", fields={"temperature": 0.6, "top_p": 0.9}))
    assert reply.text == "#2"
    assert reply.usage == Usage(10, 5)
    assert server.bodies == [{"model": "r1", "messages": QUESTION, "temperature": 0.6, "top_p": 0.9}]
    assert server.headers[0]["authorization"] == "Bearer sk-1"


def test_without_a_key_none_is_sent():
    with serving(after()) as server:
        ask(endpoint(server.url))
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize("ending", ["", "/", "/chat/completions", "/chat/completions/"])
def test_an_address_with_and_without_its_path(ending):
    with serving(after()) as server:
        assert ask(endpoint(server.url + ending)).text == "#2"


def test_what_follows_a_question_mark_stays():
    assert endpoint("https://h/v1?v=2").address == "https://h/v1/chat/completions?v=2"


NONSENSE = [
    (200, {}, b"<html>busy</html>"),
    (200, {}, b""),
    (200, {}, b'{"choices": []}'),
    (200, {}, b'{"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}'),
    (200, {}, b"\xff\xfe"),
]


@pytest.mark.parametrize(
    "failure", [*NONSENSE, *[refusal(s) for s in (408, 409, 425, 429, 500, 503, 529)], "drop", "half"]
)
def test_what_may_pass_is_tried_again(failure):
    with serving(after(failure, failure)) as server:
        assert ask(endpoint(server.url)).text == "#2"
    assert len(server.bodies) == 3


def test_an_answer_that_takes_too_long_is_tried_again():
    with serving(after("hang")) as server:
        assert ask(endpoint(server.url, timeout_s=0.2)).text == "#2"
    first, second = server.times
    assert 0.2 <= second - first < 2.5


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        ("hang", r"no answer within 0\.2 s"),
        ("drop", "the connection failed, RemoteProtocolError"),
        ("half", "the connection failed, RemoteProtocolError"),
        (refusal(503, "overloaded"), "it answered 503, overloaded"),
        (NONSENSE[0], "200 with no JSON: <html>busy"),
        (NONSENSE[1], "200 with no JSON: nothing"),
        (NONSENSE[2], "200 with no choices"),
        (NONSENSE[3], "200 with an empty answer"),
    ],
)
def test_what_does_not_pass_is_given_up(failure, why):
    with serving(lambda number, body: failure) as server, pytest.raises(GaveUp, match=rf"{why}.*\(attempt 3 of 3\)"):
        ask(endpoint(server.url, retries=2, timeout_s=0.2))
    assert len(server.bodies) == 3


def test_nobody_there():
    with pytest.raises(GaveUp, match=r"the connection failed, ConnectError.*\(attempt 2 of 2\)"):
        ask(endpoint(f"http://127.0.0.1:{free_port()}/v1", retries=1))


@pytest.mark.parametrize(
    ("status", "hopeless", "advice"),
    [
        (400, False, "--max-tokens"),
        (413, False, "length of the prompt"),
        (422, False, "--body"),
        (401, True, r"put the key into \$SOME_KEY"),
        (402, True, "filled up"),
        (403, True, r"\$SOME_KEY"),
        (404, True, r"--endpoint and --model .*/v1/chat/completions was asked for r1"),
        (307, False, "--endpoint"),
    ],
)
def test_what_no_patience_helps_is_told_at_once(status, hopeless, advice):
    said = f"it answered {status}, wrong; .*{advice}"
    with serving(lambda number, body: refusal(status, "wrong")) as server, pytest.raises(Refused, match=said) as told:
        ask(endpoint(server.url))
    assert told.value.hopeless is hopeless
    assert len(server.bodies) == 1


@pytest.mark.parametrize("content", [b'{"detail": "pinned"}', b'{"error": "pinned"}', b"pinned", b'"pinned"'])
def test_a_refusal_in_other_words(content):
    with (
        serving(lambda number, body: (400, {}, content)) as server,
        pytest.raises(Refused, match="it answered 400, pinned"),
    ):
        ask(endpoint(server.url))


def test_the_wait_that_an_endpoint_asks_for():
    with serving(after(refusal(429, retry_after="1"))) as server:
        ask(endpoint(server.url))
    first, second = server.times
    assert second - first >= 1.0


def test_a_wait_until_a_date():
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    with serving(after(refusal(503, retry_after=until))) as server:
        ask(endpoint(server.url))
    first, second = server.times
    assert second - first > 0.5  # dates have whole seconds


@pytest.mark.parametrize("asked", ["soon", "", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_wait_that_says_nothing_is_ours(asked):
    with serving(after(refusal(429, retry_after=asked))) as server:
        assert ask(endpoint(server.url)).text == "#2"


def test_a_wait_of_a_day_is_given_up_at_once():
    with serving(lambda number, body: refusal(429, retry_after="86400")) as server, pytest.raises(GaveUp, match="429"):
        ask(endpoint(server.url))
    assert len(server.bodies) == 1


def test_waits_double():
    with serving(after(*[refusal(500)] * 4)) as server:
        ask(endpoint(server.url, retries=4, first_wait_s=0.1))
    waits = [later - before for before, later in zip(server.times, server.times[1:], strict=False)]
    for place, wait in enumerate(waits):
        assert wait >= 0.05 * 2**place


def test_every_answer_is_paid_for_useless_ones_too():
    empty = completion("", usage=(3, 1))
    with serving(after(empty, refusal(500), empty)) as server:
        asker = Asker(endpoint(server.url))
        ask(asker.endpoint, asker)
    assert asker.paid == [Usage(3, 1), Usage(3, 1), Usage(10, 5)]


@pytest.mark.parametrize(
    "failure", [refusal(401, "wrong key sk-secret-1"), refusal(500, "sk-secret-1"), (200, {}, b"sk-secret-1")]
)
def test_a_key_is_not_repeated(failure):
    with serving(lambda number, body: failure) as server, pytest.raises((Refused, GaveUp)) as told:
        ask(endpoint(server.url, key="sk-secret-1", retries=0))
    assert "***" in str(told.value)
    assert "sk-secret-1" not in str(told.value) + repr(endpoint(server.url, key="sk-secret-1"))


def test_who_watches_is_told_what_is_tried_again():
    told: list[str] = []
    with serving(after(refusal(429, "slow down"))) as server:
        asker = Asker(endpoint(server.url), told.append)
        ask(asker.endpoint, asker)
    assert told == ["it answered 429, slow down"]


def test_a_long_refusal_is_cut():
    long = json.dumps({"error": {"message": "x" * 5000}}).encode()
    with serving(lambda number, body: (400, {}, long)) as server, pytest.raises(Refused) as told:
        ask(endpoint(server.url))
    assert len(str(told.value)) < 400

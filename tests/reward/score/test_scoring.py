"""Each response is scored once, in its place, and what it took is told."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.reward.score.records import Record
from llmft.reward.score.scoring import Timed, Unknown, rollout, score
from llmft.types import Author, Score, Task

TASK = Task("t", ({"role": "user", "content": "q"},), "math", answer="2")


def recorded(text, *, finish="end", pieces=()):
    return Record("rows.jsonl:1", "t", TASK.messages, (text,), finish, None, {}, pieces, None)


class Named:
    """Scores a response by the number that it is; remembers what it was asked together."""

    def __init__(self, pause_s=0.0):
        self.asked, self.pause_s = [], pause_s

    def score(self, rollouts):
        self.asked.append([int(one.text) for one in rollouts])
        time.sleep(self.pause_s)
        return [Score(float(one.text)) for one in rollouts]


@given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 12))
def test_every_response_is_scored_once_in_its_place(count, batch, alone):
    reward, done = Named(), []
    rollouts = [rollout(recorded(str(place)), 0, TASK, None) for place in range(count)]
    timed = score(reward, rollouts, batch=batch, alone=alone, tell=done.append)
    assert [one.value for one in timed.scores] == list(range(count))
    assert sorted(one for some in reward.asked for one in some) == list(range(count))
    assert (reward.asked[0], sum(done)) == ([0], count)
    lone = reward.asked[1 : 1 + len(timed.alone)]
    assert lone == [[place] for place in timed.alone]
    assert len(lone) == min(alone, count // 2)
    rest = reward.asked[1 + len(lone) :]
    assert all(len(some) == batch for some in rest[:-1])
    assert timed.batched == count - 1 - len(lone) == sum(map(len, rest))


def test_times_are_those_of_the_calls():
    reward = Named(0.01)
    timed = score(reward, [rollout(recorded("1"), 0, TASK, None)] * 9, batch=4, alone=2, tell=lambda count: None)
    assert min(timed.start_s, *timed.latencies) >= 0.01
    assert timed.batched_s >= 0.02  # six in two batches
    assert timed.per_second == pytest.approx(6 / timed.batched_s)
    assert Timed([], 9.0, [0.1, 0.3], [1, 2], 0, 0.0).per_second == pytest.approx(5.0)


def test_the_tokens_are_the_recorded_ones_else_the_tokenizers(tokens):
    pieces = ((Author.TRACE, (50, 51)), (Author.POLICY, (52,)))
    one = rollout(recorded("abc", pieces=pieces), 0, TASK, None)
    assert (one.token_ids, one.authors, one.source) == (
        (50, 51, 52),
        (Author.TRACE, Author.TRACE, Author.POLICY),
        "trace",
    )
    assert one.logps == (0.0, 0.0, 0.0)
    whole, cut = (rollout(recorded("abc", finish=finish), 0, TASK, tokens) for finish in ("end", "length"))
    assert (whole.token_ids, cut.token_ids) == (tokens.response("abc"), tokens.response("abc", end=False))
    assert (whole.finish, cut.finish, whole.text, whole.source) == ("end", "length", "abc", "policy")
    assert rollout(recorded("", finish="length"), 0, TASK, tokens).token_ids == ()


def test_who_asks_for_tokens_that_nobody_knows_is_told():
    one = rollout(recorded("abc"), 0, TASK, None)
    for ask in (len, list, bool, lambda ids: ids[0]):
        with pytest.raises(ValueError, match="the response's tokens are not known; name the model"):
            ask(one.token_ids)
    assert isinstance(pickle.loads(pickle.dumps(one)).token_ids, Unknown)

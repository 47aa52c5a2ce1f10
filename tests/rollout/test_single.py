"""What reaches the sampler, and what becomes of its completions."""

import pytest
import torch

from llmft.protocols import Drawn
from llmft.rollout.single import Single
from llmft.sampler.native import Native
from llmft.seeds import Seeds
from llmft.types import Author, Completion, Rollout, Sampling, Score, Task


class Recorder:
    """A sampler that answers with the prompt's last token and its own count, and remembers what it was asked."""

    def generate(self, prompts, n, sampling, streams, limits=None):
        self.asked = (prompts, n, sampling, streams, limits)
        return [
            [Completion((prompt[-1], 20 + j, 2)[:limit], (-0.1, -0.2, -0.3)[:limit], "end") for j in range(count)]
            for prompt, count, limit in zip(prompts, n, limits or [3] * len(prompts), strict=True)
        ]


def test_prompts_streams_and_rollouts(tokens):
    sampler = Recorder()
    single = Single(temperature=0.8, max_new_tokens=16, top_p=0.9, top_k=5, stop=[";"], sampler=sampler, tokens=tokens)
    assert single.sampling == Sampling(0.8, 16, 0.9, 5, (";",))
    tasks = [Task(name, ({"role": "user", "content": name},), "math") for name in ("1+1=", "9-2=")]
    seeds = Seeds(3).child("step", 4)
    groups = single.collect([Drawn(40, tasks[0]), Drawn(42, tasks[1])], [2, 1], seeds)

    prompts, n, sampling, streams, limits = sampler.asked
    assert limits is None
    assert prompts == [tokens.prompt(task.messages) for task in tasks]
    assert n == [2, 1]
    assert sampling is single.sampling
    assert streams == [seeds.stream("rollout", 40), seeds.stream("rollout", 42)]

    assert [len(group) for group in groups] == [2, 1]
    rollout = groups[0][1]
    assert rollout.task is tasks[0]
    assert rollout.prompt_ids == prompts[0]
    assert rollout.token_ids == (prompts[0][-1], 21, 2)
    assert rollout.logps == (-0.1, -0.2, -0.3)
    assert rollout.authors == (Author.POLICY,) * 3
    assert rollout.text == tokens.text(rollout.token_ids)  # without the end token
    assert rollout.text.startswith("=")
    assert (rollout.source, rollout.finish, rollout.score, rollout.advantages) == ("policy", "end", None, None)


def begun(tokens, text: str, name: str) -> Rollout:
    task = Task(name, ({"role": "user", "content": "2+3="},), "math")
    ids = tokens.response(text, end=False)
    return Rollout(
        task=task,
        prompt_ids=tokens.prompt(task.messages),
        token_ids=ids,
        logps=tuple(-0.01 * place for place in range(len(ids))),
        authors=(Author.TRACE,) * len(ids),
        source="trace",
        text=text,
        finish="end",
        score=Score(1.0),
        advantages=(1.0,) * len(ids),
    )


def native(policy, tokens, max_new_tokens=12) -> Single:
    sampler = Native(max_rows=8, policy=policy, tokens=tokens)
    return Single(
        temperature=1.0, max_new_tokens=max_new_tokens, top_p=1.0, top_k=0, stop=[], sampler=sampler, tokens=tokens
    )


def test_what_others_began_is_gone_on_with(policy, tokens):
    single, seeds = native(policy, tokens), Seeds(1)
    rows = [begun(tokens, "2,3#", "a"), begun(tokens, "2", "a"), begun(tokens, "12345678901", "b")]
    drawn = [Drawn(7, rows[0].task), Drawn(8, Task("none", (), "math")), Drawn(9, rows[2].task)]
    first, nothing, last = single.complete(drawn, [rows[:2], [], rows[2:]], seeds)
    assert nothing == []
    for start, whole in zip(rows, [*first, *last], strict=True):
        given, more = len(start.token_ids), len(whole.token_ids) - len(start.token_ids)
        assert 1 <= more <= 12 - given
        assert whole.token_ids[:given] == start.token_ids
        assert whole.logps[:given] == start.logps
        assert whole.authors == (Author.TRACE,) * given + (Author.POLICY,) * more
        assert whole.finish == ("end" if whole.token_ids[-1] == tokens.eos_id else "length")
        assert whole.text == tokens.text(whole.token_ids)
        assert (whole.source, whole.task, whole.prompt_ids) == ("trace", start.task, start.prompt_ids)
        assert (whole.score, whole.advantages) == (None, None)
        # What the policy wrote has the log-probabilities that it gives to it after all that stands before.
        row = torch.tensor([[*whole.prompt_ids, *whole.token_ids]])
        with torch.no_grad():
            logp = torch.log_softmax(policy.model(row).logits[0, :-1], -1).gather(-1, row[0, 1:, None])[:, 0]
        assert whole.logps[given:] == pytest.approx(logp[-more:].tolist(), abs=1e-9)


def test_a_continuation_is_a_function_of_its_position_and_its_place(policy, tokens):
    single, seeds = native(policy, tokens), Seeds(1)
    rows = [begun(tokens, "2,", "a"), begun(tokens, "2,", "a")]
    (both,) = single.complete([Drawn(7, rows[0].task)], [rows], seeds)
    assert both[0].token_ids != both[1].token_ids
    other = begun(tokens, "2,3", "b")
    _, (alone, *_) = single.complete([Drawn(3, other.task), Drawn(7, rows[0].task)], [[other], rows[:1]], seeds)
    assert alone.token_ids == both[0].token_ids
    ((moved, _),) = single.complete([Drawn(8, rows[0].task)], [rows], seeds)
    assert moved.token_ids != both[0].token_ids
    ((replayed, _),) = single.complete([Drawn(-7, rows[0].task)], [rows], seeds)
    assert replayed.token_ids != both[0].token_ids


def test_a_longer_limit_only_adds_to_a_continuation(policy, tokens):
    start = begun(tokens, "2,", "a")
    (short,), (long,) = (
        native(policy, tokens, room).complete([Drawn(7, start.task)], [[start]], Seeds(1))[0] for room in (5, 9)
    )
    assert len(short.token_ids) == 5
    assert short.finish == "length"
    assert short.token_ids == long.token_ids[:5]


def test_a_beginning_that_leaves_no_room_is_cut_and_not_gone_on_with(tokens):
    sampler = Recorder()
    single = Single(temperature=1.0, max_new_tokens=4, top_p=1.0, top_k=0, stop=[], sampler=sampler, tokens=tokens)
    rows = [begun(tokens, "1234", "a"), begun(tokens, "12345", "a"), begun(tokens, "123", "a")]
    seeds = Seeds(2)
    (whole,) = single.complete([Drawn(4, rows[0].task)], [rows], seeds)
    assert [(row.text, row.finish, row.authors) for row in whole[:2]] == [("1234", "length", (Author.TRACE,) * 4)] * 2
    assert [len(row.logps) for row in whole] == [4, 4, 4]
    assert whole[2].authors == (Author.TRACE,) * 3 + (Author.POLICY,)
    prompts, n, _, streams, limits = sampler.asked
    assert (prompts, n, limits) == ([rows[2].prompt_ids + rows[2].token_ids], [1], [1])
    assert streams == [seeds.stream("continue", 4, 2)]

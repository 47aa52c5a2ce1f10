"""Imitation: which tokens are trained, what perplexity is, and what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmft.algorithm.sft import SFT
from llmft.reward.sound import require_sound
from llmft.seeds import Seeds
from llmft.types import Author, Score, Task, Trace

OPTIONS = {
    "tasks_per_step": 2,
    "mini_batches": 1,
    "which": "first",
    "without_trace": "stop",
    "min_reward": None,
    "reward": None,
    "average": "token",
    "length": None,
    "max_length": 64,
    "packing": None,
}


def task(number, *texts, prompt="1+1="):
    return Task(f"t{number}", ({"role": "user", "content": prompt},), "math", traces=tuple(Trace(one) for one in texts))


def collect(parts, tokens, *tasks, **changes):
    options = {**OPTIONS, "tasks_per_step": len(tasks), **changes}
    algorithm = SFT(**options, tokens=tokens)
    return algorithm, algorithm.collect(parts.Stream(tasks), Seeds(0))


def test_only_the_answer_is_trained_and_so_is_its_end(parts, tokens):
    _, step = collect(parts, tokens, task(0, "2", "two"), task(1, "3;4"))
    (update,) = step.updates
    prompt = [1, *tokens.response("1+1=", end=False)]
    assert update.tokens.tolist() == [
        [*prompt, *tokens.response("2"), 0, 0],
        [*prompt, *tokens.response("3;4")],
    ]
    assert update.tokens[1, -1] == tokens.eos_id
    assert (update.weight * 6).round(decimals=5).tolist() == [[*[0] * 5, 1, 1, 0, 0], [*[0] * 5, 1, 1, 1, 1]]
    assert {author for one in step.rollouts for author in one.authors} == {Author.TRACE}
    assert step.metrics == {"train/length_mean": 3, "train/truncated": 0}


def test_all_answers_of_a_task(parts, tokens):
    _, step = collect(parts, tokens, task(0, "2", "two"), task(1, "3"), which="all", average="sequence")
    assert [one.text for one in step.rollouts] == ["2", "two", "3"]
    assert step.updates[0].weight.sum(1).tolist() == pytest.approx([1 / 3] * 3)


def test_an_answer_that_is_too_long_is_cut_and_counted(parts, tokens):
    # The prompt has 5 tokens; 4 are left for "123" and its end, 3 of "12345".
    tasks = task(0, "123"), task(1, "12345"), task(2, "1", prompt="1+1+1+1+1=")
    _, step = collect(parts, tokens, *tasks, max_length=9)
    assert [one.finish for one in step.rollouts] == ["end", "length", "length"]
    assert [len(one.token_ids) for one in step.rollouts] == [4, 4, 0]
    assert tokens.eos_id not in step.rollouts[1].token_ids
    assert len(step.updates[0]) == 2  # a prompt without an answer trains nothing
    assert step.metrics["train/truncated"] == pytest.approx(2 / 3)


def test_perplexity_is_the_exponential_of_the_token_mean(parts, policy, tokens):
    algorithm, step = collect(parts, tokens, task(0, "2"), task(1, "3;4"), average="sequence")
    (update,) = step.updates
    logp = policy.logp(update, temperature=1.0)
    answers = torch.tensor([[*[False] * 5, *[True] * 2, *[False] * 2], [*[False] * 5, *[True] * 4]])
    expected = math.exp(-logp[answers].mean().item())
    _, sums = parts.gradient(algorithm, policy, update, 1)
    assert algorithm.report(sums)["train/perplexity"] == pytest.approx(expected, rel=1e-6)
    rows = [-logp[0, 5:7].mean().item(), -logp[1, 5:9].mean().item()]
    assert sums["loss"] == pytest.approx(sum(rows) / 2, rel=1e-6)  # each answer one half


def test_tasks_without_an_answer(parts, tokens):
    stop, skip = {"without_trace": "stop"}, {"without_trace": "skip"}
    assert SFT.faults([task(0, "2")], stop) == SFT.faults([task(0, "2"), task(1)], skip) == []
    (fault,) = SFT.faults([task(0, "2"), task(1), task(2)], stop)
    assert "2 of 3 tasks have no answer to imitate ('t1' is the first); choose a dataset with traces, al" in fault
    assert "1 of 1 tasks have no answer" in SFT.faults([task(1)], skip)[0]
    with pytest.raises(ValueError, match="no answer to imitate"):
        collect(parts, tokens, task(1))
    _, step = collect(parts, tokens, task(0, "2"), task(1), task(2, "34"), without_trace="skip")
    assert [one.task.id for one in step.rollouts] == ["t0", "t2"]


class Even:
    """1 for an even number; the reward fails on what is none."""

    def score(self, rollouts):
        numbers = [int(one.text) if one.text.isdigit() else None for one in rollouts]
        return [Score(None, failure="no number") if n is None else Score(float(n % 2 == 0)) for n in numbers]

    def require_sound(self, rollouts):
        """It may fail as often as it likes."""


def test_only_answers_that_the_reward_accepts(parts, tokens):
    tasks = task(0, "2", "3"), task(1, "5"), task(2, "x", "8")
    _, step = collect(parts, tokens, *tasks, which="all", min_reward=1.0, reward=Even())
    assert [one.text for one in step.rollouts] == ["2", "8"]
    assert step.metrics["train/accepted"] == 2 / 5
    _, step = collect(parts, tokens, task(1, "5"), min_reward=1.0, reward=Even())
    assert not len(step.updates[0])


def test_a_reward_that_fails_on_answers_stops(parts, tokens):
    class Strict(Even):
        def require_sound(self, rollouts):
            require_sound(rollouts, 0.3)

    tasks = task(0, "2", "3"), task(1, "x", "8")
    assert collect(parts, tokens, *tasks, which="all", min_reward=1.0, reward=Strict())[1].metrics["train/accepted"]
    with pytest.raises(RuntimeError, match="failed on 1 of 2 rollouts"):
        collect(parts, tokens, task(0, "x", "8"), which="all", min_reward=1.0, reward=Strict())


def test_packing_shares_out_the_tokens_of_each_update(parts, tokens):
    tasks = [task(number, "1" * number) for number in range(1, 7)]  # 7 to 12 tokens with prompt and end
    _, step = collect(parts, tokens, *tasks, packing=20, mini_batches=2)
    assert [[part.length.tolist() for part in update.split(1)] for update in step.updates] == [
        [[9, 8], [7]],
        [[12], [11], [10]],
    ]


def test_what_is_refused(parts, tokens):
    with pytest.raises(ValueError, match=r"algorithm.mini_batches=3: a step has 2 tasks"):
        SFT(**{**OPTIONS, "mini_batches": 3}, tokens=tokens)
    with pytest.raises(ValueError, match=r"algorithm.length=None: average=row_constant divides by it"):
        SFT(**{**OPTIONS, "average": "row_constant"}, tokens=tokens)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([("token", None), ("sequence", None), ("constant", 64.0), ("row_constant", 8.0)]),
    st.lists(st.text("0123456789+;", max_size=12), min_size=4, max_size=8),
    st.sampled_from([1, 2]),
)
def test_the_micro_batch_does_not_change_the_gradient(parts, policy, tokens, average, texts, mini_batches):
    tasks = [task(number, text, prompt=f"{number**4}=") for number, text in enumerate(texts)]
    changes = {"average": average[0], "length": average[1], "mini_batches": mini_batches}
    algorithm, step = collect(parts, tokens, *tasks, **changes)
    for update in step.updates:
        whole, metrics = parts.gradient(algorithm, policy, update, None)
        for micro_batch, packing in ((1, None), (3, None), (1, 8), (2, 20), (1, 1000)):
            got, sums = parts.gradient(algorithm, policy, replace(update, packing=packing), micro_batch)
            assert (got - whole).norm() <= 1e-9 * whole.norm()
            assert sums == pytest.approx(metrics, rel=1e-9)

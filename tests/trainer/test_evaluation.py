"""Evaluation: what it estimates, and that it leaves no trace."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
import torch
from miniature import TASKS, Graded

from llmft.reward.sound import require_sound
from llmft.rollout.single import Single
from llmft.sampler.native import Native
from llmft.seeds import Seeds
from llmft.trainer.estimate import pass_at_k
from llmft.trainer.evaluation import Evaluation
from llmft.types import Score, Splits


@pytest.mark.parametrize("samples", [1, 2, 5, 8])
def test_pass_at_k_is_the_mean_over_all_choices_of_k(samples):
    for correct in range(samples + 1):
        outcomes = [1] * correct + [0] * (samples - correct)
        for k in range(1, samples + 1):
            expected = fmean(any(chosen) for chosen in combinations(outcomes, k))
            assert pass_at_k(samples, correct, k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_needs_k_samples():
    with pytest.raises(ValueError, match="pass@3 cannot be estimated from 2 samples"):
        pass_at_k(2, 1, 3)


@pytest.fixture
def evaluate(policy, tokens):
    """``evaluate(k=[1], ...)``: the metrics of the tiny policy."""
    sampler = Native(max_rows=64, policy=policy, tokens=tokens)
    options = {"temperature": 1.0, "max_new_tokens": 6, "top_p": 1.0, "top_k": 0, "stop": []}
    rollouts = Single(**options, sampler=sampler, tokens=tokens)
    defaults = {
        "split": "heldout", "by": None, "every": 1, "tasks": 6, "sample": True, "samples": 3, "temperature": 1.0, "k": [1, 2], "perplexity": False,
        "rows": 64, "splits": Splits((), TASKS, ()), "tokens": tokens, "reward": Graded(), "context": 256,
    }  # fmt: skip

    def run(**changed):
        return Evaluation(**defaults | changed).run(policy, rollouts, Seeds(7))

    run.rollouts = rollouts
    return run


def test_the_rows_of_a_pass_do_not_change_the_perplexity(evaluate):
    few, all_at_once = (evaluate(sample=False, perplexity=True, rows=rows) for rows in (4, 64))
    assert few == {"heldout/perplexity": pytest.approx(all_at_once["heldout/perplexity"], rel=1e-12)}


def test_every_evaluation_draws_the_same_numbers(evaluate):
    first = evaluate()
    random.random(), torch.rand(1)
    assert evaluate() == first


def test_metrics_are_those_of_the_rewards(evaluate):
    metrics = evaluate()
    assert metrics["heldout/accuracy"] == metrics["heldout/pass@1"] == metrics["heldout/avg@3"]
    assert metrics["heldout/pass@2"] >= metrics["heldout/pass@1"]
    assert 0 < metrics["heldout/length_mean"] <= 6
    assert set(metrics) == {
        "heldout/accuracy", "heldout/reward_mean", "heldout/length_mean", "heldout/truncated", "heldout/failed",
        "heldout/reward/good", "heldout/pass@1", "heldout/pass@2", "heldout/avg@3",
    }  # fmt: skip


def test_what_failed_is_counted_and_judges_nothing(evaluate):
    class Broken(Graded):
        def score(self, rollouts):
            scores = super().score(rollouts)
            scores[0] = Score(None, failure="server down")
            return [replace(score, correct=None if score.value is None else True) for score in scores]

    metrics = evaluate(reward=Broken())
    assert metrics["heldout/failed"] == 1
    assert metrics["heldout/accuracy"] == 1


def test_too_many_failures_stop_an_evaluation(evaluate):
    class Broken(Graded):
        def __init__(self, rate):
            self.rate = rate

        def score(self, rollouts):
            return [Score(None, failure="server down"), *super().score(rollouts)[1:]]

        def require_sound(self, rollouts):
            require_sound(rollouts, self.rate)

    assert evaluate(reward=Broken(1 / 18))["heldout/failed"] == 1
    with pytest.raises(RuntimeError, match=r"failed on 1 of 18 rollouts, 5.6% \(1 x server down\)"):
        evaluate(reward=Broken(1 / 19))


def test_greedy_is_another_temperature_and_the_training_one_stays(evaluate):
    evaluate(temperature=0.0, samples=1, k=[1])
    assert evaluate.rollouts.sampling.temperature == 1.0


def test_perplexity_is_that_of_the_answers_tokens(evaluate, policy, tokens):
    """By hand: one full forward per answer, the log-probabilities of its tokens and of the end token."""
    losses = []
    for task in TASKS[:6]:
        prompt, answer = tokens.prompt(task.messages), tokens.response(task.traces[0].text)
        with torch.no_grad():
            logits = policy.model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        losses += [-logits[len(prompt) - 1 + place, token].item() for place, token in enumerate(answer)]
    metrics = evaluate(sample=False, perplexity=True, rows=4)
    assert metrics == {"heldout/perplexity": pytest.approx(math.exp(fmean(losses)), rel=1e-9)}


def test_random_states_and_modes_are_as_before(evaluate, policy):
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    policy.train()
    policy.model.lm_head.eval()

    class Drawing(Graded):
        def score(self, rollouts):
            random.random(), np.random.rand(), torch.rand(1)
            return super().score(rollouts)

    evaluate(perplexity=True, reward=Drawing())
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert policy.training
    assert not policy.model.lm_head.training


def test_accuracy_by_what_the_tasks_say(evaluate):
    tiers = [replace(task, meta={"tier": "hard" if n % 3 else "easy"}) for n, task in enumerate(TASKS)]
    metrics = evaluate(by="tier", splits=Splits((), tuple(tiers), ()))
    assert 0 < metrics["heldout/accuracy"] < 1
    of_tier = metrics["heldout/accuracy/easy"] * 2 / 6 + metrics["heldout/accuracy/hard"] * 4 / 6
    assert of_tier == pytest.approx(metrics["heldout/accuracy"], abs=1e-12)
    alone = [replace(task, meta={"tier": task.id}) for task in TASKS]  # one response to the first task, and so on
    of_each = evaluate(by="tier", samples=1, k=[1], splits=Splits((), tuple(alone), ()))
    right = [of_each[f"heldout/accuracy/{task.id}"] for task in TASKS[:6]]
    assert set(right) <= {0.0, 1.0}
    assert fmean(right) == of_each["heldout/accuracy"]


def test_tasks_that_do_not_say_are_refused(evaluate):
    with pytest.raises(ValueError, match=r"evaluation.by=tier: 6 tasks to evaluate do not say what theirs is \('"):
        evaluate(by="tier")


def test_the_test_split_is_looked_at_when_asked(evaluate):
    splits = Splits((), TASKS[:6], TASKS[6:12])
    test = evaluate(split="test", splits=splits)
    assert test == evaluate(splits=Splits((), TASKS[6:12], ()))
    assert test != evaluate(splits=splits)


def test_k_above_the_samples_is_refused():
    nothing = {
        "split": "heldout",
        "by": None,
        "every": 1,
        "tasks": 1,
        "sample": True,
        "temperature": 1.0,
        "perplexity": False,
        "rows": 1,
    }
    live = {"splits": Splits((), (), ()), "tokens": None, "reward": Graded(), "context": 9}
    with pytest.raises(ValueError, match=r"evaluation.k=\[1, 8\]: pass@8 needs as many samples"):
        Evaluation(**nothing, **live, samples=4, k=[1, 8])


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_evaluating_changes_nothing_in_training(kind, session, outcome, tmp_path):
    session(kind, tmp_path / "often", evaluate=1).fit()
    session(kind, tmp_path / "never", evaluate=None).fit()
    often, never = outcome(tmp_path / "often"), outcome(tmp_path / "never")
    for part in ("state_dict", "optimizer_states", "tasks", "algorithm", "progress"):
        assert often["state"][part] == never["state"][part]
    assert often["samples"] == never["samples"]


def test_it_is_done_before_now_and_then_and_after(session, tmp_path):
    from llmft.trainer.metrics import read

    session("sft", evaluate=2, max_steps=5).fit()
    rows = read(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows if "heldout/accuracy" in row] == [0, 2, 4, 5]

"""Each task is scored by the reward of its kind, and that it was is told."""

from __future__ import annotations

import json

import pytest

from llmft.algorithm.metrics import Stopwatch, rollout_metrics
from llmft.config import ConfigError, build, compose
from llmft.config.checks import find_faults
from llmft.reward.combined import Combined
from llmft.reward.weighted import Weighted
from llmft.types import Check, Rollout, Task, Trace


def task(prompt: str, kind=None, **more) -> Task:
    return Task(prompt, ({"role": "user", "content": prompt},), kind, **more)


def rollout(of: Task, text: str = "x") -> Rollout:
    return Rollout(of, (), (), (), (), "policy", text, "end")


class Says:
    """Always the same value; refuses tasks whose id has an exclamation mark; counts what it is asked."""

    minimum, bounded = 0.0, True

    def __init__(self, value):
        self.value, self.asked, self.looked, self.closed = value, [], [], 0

    def __call__(self, rollouts):
        self.asked.append(len(rollouts))
        return [self.value] * len(rollouts)

    def faults(self, tasks):
        self.looked.append(len(tasks))
        return [f"{one.id} is loud" for one in tasks if "!" in one.id]

    def facts(self):
        return {"value": self.value}

    def close(self):
        self.closed += 1


def weighted(part, **changes) -> Weighted:
    settings = {"parts": {"p": part}, "weights": {"p": 2.0}, "success_part": "p", "success_at": 0.5, "timeout_s": 1.0}
    shared = {"max_failure_rate": 0.0, "validate": False, "sandbox": None, "judge": None}
    return Weighted(**{**settings, **shared, **changes})


def combined(max_failure_rate=0.0, validate=False, **values) -> Combined:
    rewards = {kind: weighted(Says(value)) for kind, value in values.items()}
    return Combined(rewards=rewards, max_failure_rate=max_failure_rate, validate=validate, sandbox=None, judge=None)


MATH = "Ann has 3 apples and buys 4 more. How many apples has she now?"
CODE = "Write a function that reverses a list."


def test_the_kind_decides_where_it_is_known_and_the_prompt_where_it_is_not():
    reward = combined(math=0.25, coding=0.5, chat=1.0)
    tasks = [task(CODE, "math"), task(CODE), task(MATH), task("Hello!"), task(MATH, "chat")]
    scores = reward.score([rollout(one) for one in tasks])
    assert [score.value for score in scores] == [0.5, 1.0, 0.5, 2.0, 2.0]  # twice the part's value, by the weight
    assert [score.correct for score in scores] == [False, True, False, True, True]


def test_the_choice_is_told_and_parts_say_whose_they_are():
    one, other = combined(math=0.25, chat=1.0).score([rollout(task(MATH)), rollout(task("Hello!"))])
    assert one.parts == {"choice/math": 1.0, "choice/chat": 0.0, "math/p": 0.25}
    assert other.parts == {"choice/math": 0.0, "choice/chat": 1.0, "chat/p": 1.0}


def test_each_reward_sees_its_rollouts_together():
    reward = combined(math=0.0, chat=0.0)
    reward.score([rollout(task(prompt)) for prompt in (MATH, "Hello!", MATH, MATH, "Thanks!")])
    asked = {kind: one.parts["p"].asked for kind, one in reward.rewards.items()}
    assert asked == {"math": [3], "chat": [2]}
    assert reward.score([]) == []


def test_a_failure_says_whose_it_is_and_is_counted_over_all_kinds():
    reward = combined(max_failure_rate=0.5, math=float("nan"), chat=1.0)
    made = [rollout(task(prompt)) for prompt in (MATH, "Hello!")]
    scored = [one.with_score(score) for one, score in zip(made, reward.score(made), strict=True)]
    assert [one.failed for one in scored] == [True, False]
    assert scored[0].score.failure == "math/p: nan instead of a number"
    assert scored[0].score.correct is None
    reward.require_sound(scored)  # one of two is not above the rate, though it is all of the members'
    with pytest.raises(RuntimeError, match=r"math/p: nan instead of a number"):
        reward.require_sound(scored[:1])


def test_a_kind_without_a_reward_is_refused_and_never_scored():
    reward = combined(math=1.0, chat=1.0)
    tasks = [task("Who wrote it?", "search"), task("Hello", "chat")]
    (fault,) = reward.faults(tasks)
    assert fault.startswith(
        "reward.rewards.search: 1 tasks are of this kind, first 'Who wrote it?', and nothing scores"
    )
    bad, good = reward.score([rollout(one) for one in tasks])
    assert (bad.value, bad.failure) == (None, "no reward for kind search")
    assert good.value == 2.0


def test_members_are_asked_about_their_own_tasks_alone():
    reward = combined(math=1.0, chat=1.0)
    assert reward.faults([task("loud!", "math"), task("fine", "chat")]) == [
        "reward.rewards.math.parts.p: loud! is loud"
    ]
    assert reward.faults([task("fine", "chat")]) == []
    looked = {kind: one.parts["p"].looked for kind, one in reward.rewards.items()}
    assert looked == {"math": [1], "chat": [1, 1]}  # what nobody needs, such as a sandbox, may be missing
    assert reward.facts() == {"choice": {"chat": 1}, "math/p": {"value": 1.0}, "chat/p": {"value": 1.0}}
    reward.faults([task("Hello"), task("fine", "chat")])
    assert reward.facts()["choice"] == {"detected chat": 1, "chat": 1}


def test_weights_are_those_of_the_parts_as_they_are_logged():
    assert combined(math=1.0, chat=0.0).weights == {"math/p": 2.0, "chat/p": 2.0}


def test_a_metric_is_the_mean_over_those_that_have_the_part_and_the_choice_a_share():
    reward = combined(math=0.25, chat=1.0)
    made = [rollout(task(prompt)) for prompt in (MATH, "Hello!", "Thanks!", "Bye!")]
    scored = [one.with_score(score) for one, score in zip(made, reward.score(made), strict=True)]
    metrics = rollout_metrics([tuple(scored)], Stopwatch())
    shares = {"choice/math": 0.25, "choice/chat": 0.75, "math/p": 0.25, "chat/p": 1.0}
    assert {name: metrics[f"reward/{name}"] for name in shares} == shares
    assert not any(name.startswith("asked/") for name in metrics)


def test_closing_closes_everything():
    reward = combined(math=1.0, chat=1.0)
    reward.close()
    assert [one.parts["p"].closed for one in reward.rewards.values()] == [1, 1]


def test_what_cannot_be_combined():
    with pytest.raises(ValueError, match=r"reward.rewards.maths: there are no tasks of this kind; did you mean 'math'"):
        combined(maths=1.0)
    with pytest.raises(ValueError, match=r"nothing would be scored"):
        combined()


def test_gold_answers_are_asked_for_by_kind(tokens):
    tasks = [task(MATH, "math", traces=(Trace("x"),)), task("Hi", "chat", traces=(Trace("y"),))]
    assert combined(validate=False, math=0.0, chat=1.0).gold_faults(tasks, tokens) == []
    (fault,) = combined(validate=True, math=0.0, chat=1.0).gold_faults(tasks, tokens)
    assert fault.startswith("math: reward.validate=true")
    assert "1 of 1 tasks" in fault


@pytest.fixture(scope="module")
def config():
    return compose(["reward=combined", "dataset=lab_addition"])


def test_the_option(config):
    assert find_faults(config) == []
    assert list(config.reward.rewards) == ["coding", "function_calling", "math", "search", "chat"]
    assert config.reward.sandbox._target_ == "llmft.sandbox.client.ForkServers"
    (fault,) = find_faults(compose(["reward=combined", "dataset=lab_addition", "reward.rewards.chat.success_at=x"]))
    assert fault.path == "reward.rewards.chat.success_at"


def test_the_option_scores_all_kinds_for_real(config):
    reward = build(config.reward)
    tests = (Check("call", "reverse([1, 2])", [2, 1]),)
    right = [
        rollout(task(CODE, tests=tests), "```python\ndef reverse(xs):\n    return xs[::-1]\n```"),
        rollout(task(MATH, "math", answer="7"), "3 and 4 are\n#7"),
        rollout(task("How do I boil an egg?"), "Put the egg into boiling water for eight minutes, then cool it."),
    ]
    wrong = [
        rollout(right[0].task, "```python\ndef reverse(xs):\n    return xs\n```"),
        rollout(right[1].task, "#8"),
        rollout(right[2].task, "Mi dispiace, ma non posso aiutarti con questa richiesta. E non posso dirti il perché."),
    ]
    try:
        assert reward.faults([one.task for one in right]) == []
        scores = reward.score([*right, *wrong])
    finally:
        reward.close()
    assert [score.correct for score in scores] == [True] * 3 + [False] * 3
    assert [max(score.parts, key=lambda name: score.parts[name] * name.startswith("choice/")) for score in scores] == [
        f"choice/{kind}" for kind in ("coding", "math", "chat") * 2
    ]


def test_a_judge_and_a_sandbox_are_shared_by_all():
    changed = compose(
        ["reward=combined", "dataset=lab_addition", "reward.judge.url=http://127.0.0.1:9/v1", "reward.judge.model=m"]
    )
    reward = build(changed.reward)
    judged = reward.rewards["chat"].parts["judge"]
    assert judged.judge is reward.judge
    assert reward.rewards["coding"].parts["tests"].sandbox is reward.sandbox
    assert "chat/judge" in reward.weights
    with pytest.raises(ConfigError, match=r"reward.judge.model=null"):
        build(compose(["reward=combined", "dataset=lab_addition", "reward.judge.url=http://127.0.0.1:9/v1"]).reward)


def test_rows_of_several_kinds(tmp_path):
    rows = [{"question": prompt} for prompt in (MATH, "Hello, who are you?")]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [f"dataset.path={tmp_path}", "dataset.kind=null", "dataset.heldout=0", "dataset.answer_column=null"]
    cfg = compose(["reward=combined", "dataset=rows", *overrides])
    assert find_faults(cfg) == []
    reward = combined(math=0.0, chat=1.0)
    assert {task.kind for task in build(cfg.dataset).load().train} == {None}
    assert reward.faults(build(cfg.dataset).load().train) == []
    assert reward.facts()["choice"] == {"detected math": 1, "detected chat": 1}

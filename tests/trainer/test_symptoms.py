"""Each symptom shows where its failure does, and nowhere in a run that is well."""

from __future__ import annotations

import json

import pytest

from llmft.config import build, compose
from llmft.trainer.symptoms import SYMPTOMS, Seen
from llmft.types import Author, Rollout, Score, Task

AT = build(compose().callbacks)["health"]  # the thresholds that users have
STEPS = 30


def rows(**metrics):
    """``STEPS`` rows of a run, each metric a number or a function of how far it is, from 0 to 1."""
    return [
        {
            name if "/" in name else f"train/{name}": value(step / STEPS) if callable(value) else value
            for name, value in metrics.items()
        }
        for step in range(STEPS)
    ]


def shown(rows, rollouts=(), weights=None):
    """Symptom to the first step that it shows in, and what is told then."""
    seen, found = Seen(AT.window), {}
    for step, row in enumerate(rows, start=1):
        seen.add(row, rollouts)
        for name, symptom in SYMPTOMS.items():
            if text := symptom(seen, AT, weights or {}):
                found.setdefault(name, (step, text))
    return found


def falling(start, end):
    return lambda far: start * (end / start) ** far


WELL = {
    "reward_mean": lambda far: 0.3 + 0.5 * far,
    "accuracy": lambda far: 0.3 + 0.5 * far,
    "no_signal": lambda far: 0.2 + 0.5 * far,
    "length_mean": lambda far: 300 * (1 + 2 * far),  # longer, and still whole
    "truncated": lambda far: 0.02 + 0.1 * far,
    "entropy": falling(0.4, 0.1),
    "logp_gap": 0.01,
    "grad_norm": lambda far: 0.3 + far,
    "kl": lambda far: 0.1 * far,
    "failed": 0,
}


def test_a_run_that_is_well_has_none():
    assert shown(rows(**WELL)) == {}
    assert (
        shown(rows(loss=falling(7, 1), perplexity=falling(1000, 3), length_mean=150, truncated=0.01, grad_norm=1.0))
        == {}
    )


GUIDED = WELL | {
    "off_policy_prob": lambda far: 0.02 * (1 + 4 * far),  # unlikely, and learned
    "train/accuracy/trace": 0.95,
    "skipped_updates": lambda far: float(far == 0.5),  # one bad batch
}


def test_a_run_with_guidance_that_is_well_has_none():
    assert shown(rows(**GUIDED)) == {}
    assert shown(rows(**GUIDED | {"off_policy_prob": 0.6})) == {}  # likely from the start, and no likelier later
    assert shown(rows(**GUIDED | {"train/accuracy/trace": 0.4})) == {}  # of which some are wrong on purpose


def test_a_run_that_ends_with_its_tasks_solved_has_no_collapse():
    assert shown(rows(**WELL | {"entropy": falling(0.4, 0.001), "accuracy": 0.95})) == {}


@pytest.mark.parametrize(
    ("symptom", "step", "said", "metrics"),
    [
        ("equal_rewards", 10, "too hard, 0% of the responses are right", {"no_signal": 1.0, "accuracy": 0.0}),
        ("equal_rewards", 10, "solved, or nearly, with 100%", {"no_signal": 1.0, "accuracy": 1.0}),
        ("equal_rewards", 10, "always solved or never", {"no_signal": 1.0, "accuracy": 0.5}),
        ("entropy_collapse", None, "no longer explores", {"entropy": falling(0.4, 0.001), "accuracy": 0.4}),
        ("exploding_lengths", None, "times as long as at first",
         {"length_mean": lambda far: 300 * (1 + 4 * far), "truncated": lambda far: 0.6 * far}),
        ("cut_responses", 3, "60% of the responses are cut off", {"truncated": 0.6}),
        ("apart", 3, "disagree by 0.100 nats", {"logp_gap": 0.1}),
        ("refills_exhausted", 1, "too hard (10% is right)", {"refill_missing": 5, "accuracy": 0.1}),
        ("failing_rewards", 10, "in 100% of the steps", {"failed": 2}),
        ("skipped_updates", 16, "nonfinite.json", {"nonfinite": lambda far: float(far == 0.5)}),
        ("far_from_reference", None, "nats per token from the reference", {"kl": lambda far: 4 * far}),
        ("long_gradients", 10, "left out in 100% of the last steps", {"skipped_updates": 2}),
        ("foreign_traces", 20, "a probability of 0.010", {"off_policy_prob": 0.01}),
        ("foreign_traces", 20, "a probability of 0.000", {"off_policy_prob": 0.0}),
        ("foreign_traces", 20, "does not grow", {"off_policy_prob": lambda far: 0.04 - 0.03 * far}),
        ("unread_traces", 3, "0% of the traces are right", {"train/accuracy/trace": 0.0}),
        ("growing_gradient", None, "training diverges", {"grad_norm": lambda far: 0.1 * 200**far}),
    ],
)  # fmt: skip
def test_a_failure_shows_alone(symptom, step, said, metrics):
    found = shown(rows(**WELL | metrics))
    assert list(found) == [symptom]
    assert said in found[symptom][1]
    if step is not None:
        assert found[symptom][0] == step


def test_a_probability_that_grows_late_is_told_and_one_that_does_at_once_is_not():
    late = lambda far: 0.01 if far < 0.7 else 0.02 + (far - 0.7) / 4  # noqa: E731
    assert shown(rows(off_policy_prob=late))["foreign_traces"][0] == 20
    assert shown(rows(off_policy_prob=lambda far: 0.01 * (1 + 2 * far))) == {}


def replayed(*steps):
    """Rows of ``guidance/...``: how many were replayed, is replay on, questions in the pool."""
    names = ("guidance/replayed", "guidance/guiding", "guidance/pool_questions")
    return [{"train/accuracy": 0.2, **dict(zip(names, one, strict=True))} for one in steps]


def test_a_replay_that_never_begins_and_a_pool_that_is_empty():
    long = AT.replay_idle
    waits, empty, used = (0, 0, 0), (0, 1, 0), (4, 1, 30)
    found = shown(replayed(*[waits] * (long + 5)))
    assert list(found) == ["idle_replay"]
    assert found["idle_replay"][0] == long
    assert "20% of the responses of a step are right, and replay begins above" in found["idle_replay"][1]
    found = shown(replayed(*[waits] * 20, *[empty] * long))
    assert found["idle_replay"][0] == long
    assert "the pool holds no question" in found["idle_replay"][1]
    assert "take easier tasks" in found["idle_replay"][1]

    assert shown(replayed(*[waits] * (long - 5), *[used] * 20)) == {}
    assert shown(replayed(*[used, *[empty] * (AT.window - 1)] * 20)) == {}  # now and then is enough
    assert shown(replayed(*[used] * long, *[empty] * AT.window)).keys() == {"idle_replay"}  # all of it is mastered


def test_answers_that_are_cut_off():
    found = shown(rows(loss=1.0, truncated=0.15))
    assert list(found) == ["cut_responses"]
    assert "algorithm.max_length" in found["cut_responses"][1]


def test_a_metric_that_is_missing_or_no_number_shows_nothing():
    assert shown(rows(**{name: float("nan") for name in WELL})) == {}
    assert shown([{}] * STEPS) == {}
    # Steps without an update have no entropy: the mean is over those that have.
    some = [row if step % 3 else {} for step, row in enumerate(rows(**WELL | {"no_signal": 1.0, "accuracy": 0.0}))]
    assert shown(some)["equal_rewards"][0] == 15


def responses(*parts):
    task = Task("one", ({"role": "user", "content": "?"},), "math", "1")
    rollout = Rollout(task, (1,), (5,), (0.0,), (Author.POLICY,), "policy", "1", "end")
    return [rollout.with_score(Score(sum(one.values()), one)) for one in parts]


def test_parts_that_never_vary():
    good, bad = {"correct": 1.0, "brief": 0.5}, {"correct": 0.0, "brief": 0.5}
    rollouts = responses(*[good] * 25, *[bad] * 25)  # 500 responses in 10 steps
    found = shown([{}] * 12, rollouts)
    assert found.keys() == {"constant_part"}
    assert found["constant_part"][0] == 10
    assert "brief always 0.5" in found["constant_part"][1]
    assert "correct" not in found["constant_part"][1]
    both = {"correct": 1.0, "brief": 1.0}
    assert shown([{}] * 12, rollouts, both).keys() == {"constant_part"}
    assert shown([{}] * 12, rollouts, both | {"brief": 0.0}) == {}  # only logged
    assert shown([{}] * 12, rollouts, {"correct": 1.0}) == {}  # a penalty of the algorithm's, no part of the reward
    assert shown([{}] * 12, responses(good, *[bad] * 49, bad | {"brief": 0.6})) == {}
    assert shown([{}] * 12, responses(*[{"correct": 0.0}] * 50)) == {}  # the whole reward: no group has signal


def test_what_others_wrote_and_what_failed_is_not_counted():
    from dataclasses import replace

    one = responses({"correct": 1.0, "brief": 0.5})[0]
    others = [replace(one, source="trace"), replace(one, score=Score(None, {"brief": 0.5}, failure="broken"))]
    assert shown([{}] * 12, others * 100) == {}


def test_what_was_seen_comes_back_from_json():
    whole, split = Seen(AT.window), Seen(AT.window)
    for step, row in enumerate(rows(**WELL)):
        rollouts = responses({"correct": step / 7, "brief": 1 / 3})
        whole.add(row, rollouts)
        split.add(row, rollouts)
        again = Seen(AT.window)
        again.load_state_dict(json.loads(json.dumps(split.state_dict())))
        split = again
    assert split.state_dict() == whole.state_dict()
    assert split.mean("train/entropy") == whole.mean("train/entropy")
    assert split.grown("train/grad_norm") == whole.grown("train/grad_norm")


def test_a_state_is_a_copy():
    seen = Seen(AT.window)
    seen.add({"train/loss": 1.0}, ())
    kept = seen.state_dict()
    seen.add({"train/loss": 2.0}, ())
    assert kept["last"] == {"train/loss": [1.0]}

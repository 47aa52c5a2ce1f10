"""Splits share no question, whatever is asked for; traces are of who was asked for."""

from __future__ import annotations

from collections import Counter

import pytest

from llmft.dataset.lab.addition import Addition
from llmft.dataset.lab.family import SHARES, share
from llmft.dataset.lab.paths import Paths
from llmft.reward.exact import Exact
from llmft.types import Rollout, Task

FAMILIES = [Addition, Paths]


def load(family, **changes):
    values = {"tier": "easy", "traces": "expert", "slip_easy": 0.5, "slip_hard": 0.98, "train": 300, "heldout": 100}
    values |= {
        "test": 100,
        "heldout_tier": None,
        "wrong_traces": 0.0,
        "seed": 0,
        "answer_form": "#{answer}",
        "form_pattern": None,
        "limit": None,
        "trace_file": None,
        "base": "x",
        "response_tokens": 64,
    }
    return family(**{**values, **changes}).load()


def question(task: Task) -> str:
    """The question, read back from its prompt and put in one order."""
    prompt = str(task.messages[0]["content"])
    if "+" in prompt:
        return "+".join(sorted(prompt.rstrip("=").split("+")))
    roads, _, asked = prompt.partition(":")
    return ",".join(sorted(roads.split(","))) + asked


def questions(tasks) -> set[str]:
    return {question(task) for task in tasks}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_question_is_in_two_splits_of_any_two_datasets(family):
    made = [load(family, tier=tier, seed=seed) for tier in ("easy", "hard", "mixed", "base") for seed in (0, 1)]
    train, heldout, test = (
        set().union(*(questions(getattr(splits, name)) for splits in made)) for name in ("train", "heldout", "test")
    )
    assert not train & heldout
    assert not train & test
    assert not heldout & test


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tier", ["easy", "hard", "mixed"])
def test_no_question_comes_twice_and_ids_differ(family, tier):
    splits = load(family, tier=tier)
    everything = splits.train + splits.heldout + splits.test
    assert [len(splits.train), len(splits.heldout), len(splits.test)] == [300, 100, 100]
    assert len(questions(everything)) == len({task.id for task in everything}) == 500


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_makes_the_same_tasks(family):
    one, again, other = load(family), load(family), load(family, seed=1)
    assert one == again
    assert one.train != other.train
    assert one.hashes != other.hashes
    assert load(family, traces="none").hashes != one.hashes


@pytest.mark.parametrize("family", FAMILIES)
def test_the_limit_keeps_the_first(family):
    whole, capped = load(family, tier="mixed"), load(family, tier="mixed", limit=7)
    assert capped.train == whole.train[:7]
    assert capped.heldout == whole.heldout[:7]
    assert capped.test == whole.test[:7]


def score(splits) -> list[float]:
    """What the lab's reward gives the traces."""
    traces = [(task, trace) for task in splits.train for trace in task.traces]
    rollouts = [Rollout(task, (), (), (), (), "trace", trace.text, "end") for task, trace in traces]
    return Exact(form="#{answer}")(rollouts)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tier", ["easy", "hard", "mixed", "base"])
def test_the_expert_always_scores_one(family, tier):
    splits = load(family, tier=tier)
    assert score(splits) == [1.0] * 300
    assert {trace.source for task in splits.train for trace in task.traces} == {"expert"}


@pytest.mark.parametrize("family", FAMILIES)
def test_sloppy_traces_score_less_and_are_the_experts_where_nobody_slips(family):
    sloppy = load(family, tier="mixed", traces="sloppy")
    assert 0 < sum(score(sloppy)) < 150
    careful = load(family, tier="mixed", traces="sloppy", slip_easy=0.0, slip_hard=0.0)
    expert = load(family, tier="mixed")
    assert [t.traces[0].text for t in careful.train] == [t.traces[0].text for t in expert.train]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_share_of_the_experts_traces_is_wrong_and_the_others_stay(family):
    right, some, all_of_them = (load(family, tier="hard", wrong_traces=share) for share in (0.0, 0.3, 1.0))
    assert 0.2 < 1 - sum(score(some)) / 300 < 0.4
    assert sum(score(all_of_them)) == 0
    kept = [(one, other) for one, other, scored in zip(right.train, some.train, score(some), strict=True) if scored]
    assert all(one == other for one, other in kept)
    assert [task.messages for task in some.train] == [task.messages for task in right.train]


def test_a_sum_without_a_carry_is_never_wrong():
    easy = load(Addition, wrong_traces=1.0, slip_easy=0.9)
    carries = [any(column[2] == "1" for column in task.traces[0].text.split("#")[0].split(",")) for task in easy.train]
    assert 0 < sum(score(easy)) < 300
    assert not any(carry for carry, right in zip(carries, score(easy), strict=True) if right)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_held_out_may_be_of_another_tier(family):
    hard, mixed = load(family, tier="hard"), load(family, tier="mixed")
    both = load(family, tier="hard", heldout_tier="mixed")
    assert both.train == hard.train
    assert (both.heldout, both.test) == (mixed.heldout, mixed.test)


@pytest.mark.parametrize("family", FAMILIES)
def test_who_is_asked_for_traces(family):
    assert not any(task.traces for task in load(family, traces="none").train)
    traced = Counter(
        (task.meta["tier"], len(task.traces)) for task in load(family, tier="mixed", traces="expert_hard").train
    )
    assert set(traced) == {("easy", 0), ("hard", 1)}


def test_only_a_base_is_trained_on_a_question_twice():
    """It is written anew each time: there are few short sums, and many ways to slip in them."""
    splits = load(Addition, tier="base", traces="sloppy", train=4000)
    assert len(questions(splits.train)) < 4000
    assert len(questions(splits.heldout)) == 100
    assert len({(question(task), task.traces[0].text) for task in splits.train}) > len(questions(splits.train))


def test_more_questions_than_there_are_is_an_error():
    with pytest.raises(ValueError, match=r"dataset\.heldout: tier=base has no more than \d+ questions; ask for fewer"):
        load(Addition, tier="base", train=1, heldout=4000)


def test_shares_are_what_they_say():
    counts = Counter(share(str(number)) for number in range(8000))
    assert set(counts) == set(range(8))
    assert all(900 < count < 1100 for count in counts.values())
    assert sorted(SHARES.values()) == [(0, 1), (1, 2), (2, 8)]

"""Before training: do the data's own answers score full marks?"""

from __future__ import annotations

import logging

import pytest
from summed import summed

from llmft.config import build, compose
from llmft.reward.exact import Exact
from llmft.reward.gold import ROWS, SHOWN, gold_text, has_full_marks
from llmft.types import Score, Task, Trace


def task(name, *, trace: str | None = "so #2", answer="2"):
    traces = () if trace is None else (Trace(trace), Trace("another"))
    return Task(name, ({"role": "user", "content": f"{name}="},), "math", answer=answer, traces=traces)


class Long:
    """How many tokens a response has; full marks are six."""

    minimum, maximum, bounded = 0.0, 6.0, True

    def __call__(self, rollouts):
        return [float(min(len(one.token_ids), 6)) for one in rollouts]


class Stated(Exact):
    """Writes the gold answer itself, but for tasks that are called after nobody."""

    bounded = True

    def __init__(self):
        super().__init__(form="#{answer}")

    def gold(self, task):
        return None if task.id.startswith("nobody") else f"#{task.answer}"


def weighted(*, validate=True, **parts):
    return summed({"correct": Exact(form="#{answer}"), **parts}, validate=validate)


def test_answers_that_score_full_marks_are_no_fault(tokens, caplog):
    with caplog.at_level(logging.INFO, "llmft.reward.gold"):
        assert weighted().gold_faults([task(f"t{n}") for n in range(ROWS + 3)], tokens) == []
    (said,) = caplog.messages
    assert said.startswith(f"reward.validate=true: {ROWS + 3} of {ROWS + 3} gold answers score full marks, found in ")


def test_none_is_left_out_where_one_batch_ends(tokens):
    tasks = [
        task(f"t{place}", trace="#3" if place in (ROWS - 1, ROWS, ROWS + 2) else "#2") for place in range(ROWS + 3)
    ]
    (fault,) = weighted().gold_faults(tasks, tokens)
    assert [line.split(":")[0] for line in fault.splitlines()[1:]] == [f"task 't{ROWS + n}'" for n in (-1, 0, 2)]


def test_nothing_is_asked_where_the_config_does_not(tokens):
    assert weighted(validate=False).gold_faults([task("t", trace="#3"), task("u", trace=None)], tokens) == []


def test_an_answer_that_the_reward_refuses_is_told_with_its_parts(tokens):
    tasks = [task("a"), task("b", trace="so #3"), task("c"), task("d", trace="x" * 80 + "#2\n")]
    (fault,) = weighted(length=Long()).gold_faults(tasks, tokens)
    assert fault.splitlines() == [
        "reward.validate=true: the data's own answers to 2 of 4 tasks do not score full marks; mend the reward or these "
        "tasks, or leave them out:",
        "task 'b': correct 0, length 6: 'so #3'",
        f"task 'd': correct 0, length 6: '{'x' * 30} ... {'x' * 28}#2'",
    ]


def test_only_the_first_are_listed(tokens):
    tasks = [task(f"t{n:02}", trace="#3" if n % 2 else "#2") for n in range(2 * SHOWN + 6)]
    (fault,) = weighted().gold_faults(tasks, tokens)
    lines = fault.splitlines()
    assert f"to {SHOWN + 3} of {2 * SHOWN + 6} tasks" in lines[0]
    assert [line.split(":")[0] for line in lines[1:-1]] == [f"task 't{2 * n + 1:02}'" for n in range(SHOWN)]
    assert lines[-1] == "and 3 more"


def test_a_task_without_an_answer_of_its_own_is_told(tokens, caplog):
    with caplog.at_level(logging.INFO, "llmft.reward.gold"):
        (fault,) = weighted().gold_faults([task("a"), task("b", trace=None), task("c", trace=None)], tokens)
    assert fault == (
        "reward.validate=true: 2 of 3 tasks have no answer that could be scored, first 'b'; give them traces, or use "
        "reward.validate=false"
    )
    assert caplog.messages[0].startswith("reward.validate=true: 1 of 1 gold answers score full marks")
    assert len(weighted().gold_faults([task("a", trace="#3"), task("b", trace=None)], tokens)) == 2


def test_the_success_part_may_know_the_answer(tokens):
    reward = weighted(correct=Stated())
    assert gold_text(reward, task("a", trace="wrong")) == "#2"
    assert gold_text(reward, task("nobody", trace="so #2")) == "so #2"
    assert gold_text(reward, task("nobody", trace=None)) is None
    assert reward.gold_faults([task("a", trace="wrong"), task("b", trace=None), task("nobody")], tokens) == []


def test_a_part_that_says_what_full_marks_are_must_give_them(tokens):
    short, enough = task("a", trace="#2"), task("b", trace="so #2")  # 3 and 6 tokens with the end
    assert len(tokens.response("so #2")) == 6
    (fault,) = weighted(length=Long()).gold_faults([short, enough], tokens)
    assert "to 1 of 2 tasks" in fault
    assert "task 'a': correct 1, length 3: '#2'" in fault
    logged = weighted(length=Long())
    logged.weights["length"] = 0.0  # only logged
    assert logged.gold_faults([short], tokens) == []


@pytest.mark.parametrize(
    ("score", "full"),
    [
        (Score(7.0, {"correct": 1.0, "length": 6.0}, True), True),
        (Score(7.0, {"correct": 1.0, "length": 6.0 - 1e-12}, True), True),
        (Score(6.0, {"correct": 1.0, "length": 5.0}, True), False),
        (Score(6.0, {"correct": 0.0, "length": 6.0}, False), False),
        (Score(7.0, {"correct": 1.0, "length": 6.0}, None), False),
        (Score(None, {"length": 6.0}, failure="correct: hung"), False),
    ],
)
def test_full_marks(score, full):
    assert has_full_marks(weighted(length=Long()), score) is full


def test_a_failure_of_the_machinery_is_not_full_marks(tokens):
    class Broken(Long):
        def __call__(self, rollouts):
            raise KeyError("gone")

    (fault,) = weighted(length=Broken()).gold_faults([task("a")], tokens)
    assert "task 'a': length: KeyError: 'gone': 'so #2'" in fault


def test_a_trace_is_scored_as_a_run_places_it(tokens):
    """A prompt that opens the thoughts has written the opening: the reward never sees it in a response."""

    class Opened:
        minimum, bounded = 0.0, True

        def __call__(self, rollouts):
            return [float(one.text == "so</think>#2" and one.prompt_ids != ()) for one in rollouts]

    one = Task("t", ({"role": "user", "content": "q\n<think>\n"},), "math", "2", (Trace("<think>\nso</think>#2"),))
    assert weighted(opened=Opened()).gold_faults([one], tokens) == []
    reward = weighted(correct=Opened())
    assert reward.gold_faults([one], tokens) == []


@pytest.mark.parametrize("dataset", ["lab_addition", "lab_paths"])
def test_the_lab_is_sound(tokens, dataset):
    cfg = compose(
        [f"dataset={dataset}", "dataset.train=200", "dataset.heldout=50", "dataset.test=50", "reward.validate=true"]
    )
    splits = build(cfg.dataset).load()
    assert build(cfg.reward).gold_faults([*splits.train, *splits.heldout, *splits.test], tokens) == []


@pytest.mark.slow
def test_all_of_gsm8k_is_sound(tokens, shared):
    cfg = compose(["reward=math", f"dataset.path={shared('data/gsm8k')}", "dataset.name=null", "reward.validate=true"])
    splits = build(cfg.dataset).load()
    tasks = [*splits.train, *splits.heldout, *splits.test]
    assert len(tasks) == 7473 + 1319
    reward = build(cfg.reward)
    assert reward.gold_faults(tasks, tokens) == []
    reward.close()

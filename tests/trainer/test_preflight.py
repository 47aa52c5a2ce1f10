"""What is refused before a weight is read, all at once."""

from __future__ import annotations

from functools import partial

import pytest
from miniature import TASKS, Graded

from llmft.config import ConfigError
from llmft.guidance.none import Unguided
from llmft.trainer.evaluation import Evaluation
from llmft.trainer.preflight import preflight
from llmft.types import Splits

EVALUATION = partial(
    Evaluation, split="heldout", by=None, every=1, tasks=None, sample=True, samples=1, temperature=1.0, k=[1],
    perplexity=False, rows=1,
)  # fmt: skip


class Data:
    def load(self):
        return Splits(TASKS[:20], TASKS[20:], ())


class Unread:
    def load(self):
        raise ValueError("dataset.path=nowhere: no such file; name one")


class Picky(Graded):
    def faults(self, tasks):
        return [f"reward: {len(tasks)} answers cannot be parsed"]


class Demanding(Graded):
    """Wants to see the gold answers, and refuses one."""

    def gold_faults(self, tasks, tokens):
        return [f"reward.validate=true: of {len(tasks)} answers, as {type(tokens).__name__} writes them, one is wrong"]


def checked(source, **changed):
    parts = {"dataset": Data, "source": lambda: source, "reward": Graded, "evaluation": EVALUATION}
    parts["guidance"] = lambda **live: Unguided()
    return preflight(**parts | {"algorithm": lambda tasks: [], "group_size": None, "new_tokens": 8} | changed)


def test_what_fits_is_handed_back(tiny_source):
    found = checked(tiny_source)
    assert len(found.evaluation.drawn) == 5
    assert found.tokens.prompt(TASKS[0].messages)


def test_every_fault_is_told_at_once(tiny_source):
    with pytest.raises(ConfigError) as refused:
        checked(
            tiny_source,
            reward=Picky,
            new_tokens=1000,
            evaluation=partial(Evaluation, **EVALUATION.keywords | {"k": [4]}),
            algorithm=lambda tasks: [f"algorithm: {len(tasks)} tasks without traces"],
        )
    told = str(refused.value)
    assert told.startswith("4 faults")
    for fault in (
        "reward: 25 answers cannot be parsed",
        "algorithm: 20 tasks without traces",
        "rollout.max_new_tokens=1000: the model attends to 256 tokens, and the prompt of task",
        "evaluation.k=[4]: pass@4 needs as many samples",
    ):
        assert fault in told


def test_data_and_model_are_refused_together():
    class Headless:
        def faults(self):
            return ["model.path=here: its tokenizer has no end token"]

    with pytest.raises(ConfigError) as refused:
        checked(Headless(), dataset=Unread)
    assert [str(fault) for fault in refused.value.faults] == [
        "dataset.path=nowhere: no such file; name one",
        "model.path=here: its tokenizer has no end token",
    ]


def test_the_room_that_is_left_is_told(tiny_source):
    longest = max(len(tiny_source.tokens().prompt(task.messages)) for task in TASKS)
    checked(tiny_source, new_tokens=256 - longest)
    with pytest.raises(ConfigError, match=f"use at most {256 - longest},"):
        checked(tiny_source, new_tokens=257 - longest)


def test_gold_answers_of_all_splits_are_asked_for_when_all_else_fits(tiny_source):
    class AllSplits(Data):
        def load(self):
            return Splits(TASKS[:20], TASKS[20:23], TASKS[23:])

    with pytest.raises(ConfigError) as refused:
        checked(tiny_source, reward=Demanding, dataset=AllSplits)
    assert [str(fault) for fault in refused.value.faults] == [
        "reward.validate=true: of 25 answers, as Chat writes them, one is wrong"
    ]
    with pytest.raises(ConfigError) as refused:  # scoring them all would keep what is known already waiting
        checked(tiny_source, reward=Demanding, algorithm=lambda tasks: ["algorithm: no traces"])
    assert [str(fault) for fault in refused.value.faults] == ["algorithm: no traces"]

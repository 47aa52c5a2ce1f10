"""Each half is what its own family would have made of it, and is held out where it would hold it out."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from llmft.config import build, compose
from llmft.types import Splits, Task


def load(*overrides: str) -> Splits:
    few = ("train=100", "heldout=30", "test=30", *overrides)
    return build(compose(["dataset=lab_combined", *(f"dataset.{one}" for one in few)]).dataset).load()


@pytest.fixture(scope="module", params=["mixed", "base"])
def splits(request) -> Splits:
    return load(f"tier={request.param}", "heldout_tier=mixed", "traces=sloppy")


def test_each_task_brings_what_its_kind_needs(splits):
    for task in splits.train + splits.heldout + splits.test:
        if task.kind == "coding":
            assert (len(task.tests) >= 5, task.answer, task.tools) == (True, None, ())
        else:
            assert (task.kind, task.tests, len(task.tools) >= 2) == ("function_calling", (), True)
            assert task.answer


def test_half_are_of_each_kind():
    counts = Counter(task.kind for task in load("train=600").train)
    assert set(counts) == {"coding", "function_calling"}
    assert 250 < counts["coding"] < 350


def functions(tasks: tuple[Task, ...]) -> set[str]:
    return {str(task.messages[0]["content"]) for task in tasks if task.kind == "coding"}


def tools(tasks: tuple[Task, ...]) -> set[str]:
    return {str(tool) for task in tasks for tool in task.tools}


def test_what_is_held_out_here_is_trained_on_in_no_family(splits):
    coding = build(
        compose(["dataset=lab_coding", "dataset.train=1000", "dataset.heldout=1", "dataset.test=1"]).dataset
    ).load()
    assert not functions(splits.heldout + splits.test) & functions(coding.train)
    calling = build(compose(["dataset=lab_function_calling", "dataset.heldout=1", "dataset.test=1"]).dataset).load()
    assert not tools(splits.heldout + splits.test) & tools(splits.train + calling.train)


def test_whatever_is_written_is_of_the_form_and_fits(splits):
    cfg = compose(["dataset=lab_combined"]).dataset
    for task in splits.train:
        assert re.fullmatch(cfg.form_pattern, task.traces[0].text)
        assert len(task.traces[0].text) < cfg.response_tokens

"""What prompts ask for, counted on prompts of known kind; and each observation by itself."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled_prompts import WEATHER, Labelled, calls, code, maths, own, read, task

from llmft.reward.detection import KINDS, detect
from llmft.reward.wording import RULES
from llmft.types import Check

SETS = ("dev", "heldout")
BAR = 0.98  # of the held-out prompts


def shares(prompts: Iterable[Labelled]) -> tuple[dict[tuple[str, ...], float], float, list[str]]:
    """Right by kind, language and origin; of all; and what was wrong."""
    every: Counter[tuple[str, ...]] = Counter()
    right: Counter[tuple[str, ...]] = Counter()
    wrong = []
    for one in prompts:
        evidence = detect(one.task)
        for key in ((one.kind, one.language), (one.origin,)):
            every[key] += 1
            right[key] += evidence.kind == one.kind
        if evidence.kind != one.kind:
            wrong.append(f"{one.kind} taken for {evidence.kind}: {one.task.messages[-1]['content'][:90]!r}")
    total = sum(count for key, count in right.items() if len(key) == 1)
    return {key: right[key] / every[key] for key in every}, total / (total + len(wrong)), wrong


def test_held_out_prompts_written_for_this():
    by, all_of_them, wrong = shares(own("heldout"))
    assert all_of_them >= BAR, wrong
    assert min(by.values()) >= 0.93, (by, wrong)  # the least: 30 of 32 requests for programs in English


def test_held_out_public_prompts(shared):
    prompts = [
        *maths("heldout", shared("data/gsm8k/test.jsonl"), every=8),
        *code("heldout", shared("data/humaneval/HumanEval.jsonl.gz")),
        *calls("heldout", shared),
    ]
    by, _, wrong = shares(prompts)
    assert min(by.values()) >= BAR, (by, wrong)


@pytest.mark.slow
def test_all_held_out_prompts(shared):
    prompts = [
        *own("heldout"),
        *maths("heldout", shared("data/gsm8k/test.jsonl")),
        *code("heldout", shared("data/humaneval/HumanEval.jsonl.gz")),
        *calls("heldout", shared),
    ]
    _, all_of_them, wrong = shares(prompts)
    assert len(prompts) > 4000
    assert all_of_them >= BAR, wrong


def test_no_prompt_is_in_both_sets():
    dev, heldout = ({row.get("prompt") or row.get("opening") or row["tools"] for row in read(name)} for name in SETS)
    assert not dev & heldout


def test_the_held_out_set_is_as_large_as_it_should_be():
    counts = Counter((row["kind"], row["language"]) for row in read("heldout") if "prompt" in row)
    assert counts["chat", "en"] + counts["chat", "it"] >= 120
    assert min(counts["chat", "en"], counts["chat", "it"], counts["math", "it"], counts["coding", "it"]) >= 60


def test_no_phrase_is_in_the_rules():
    """Four words in a row would be a phrase of somebody's data, not a rule of a language."""
    spelt = "\n".join(re.sub(r"\(\?<?[!=]", "(", rule.pattern) for rule in RULES)
    assert not re.findall(r"[a-z']+(?:(?: |\\s\+?)[a-z']+){3,}", spelt, re.IGNORECASE)


ASKED = {
    "chat": "How do I keep basil fresh for 3 days?",
    "coding": "Write a function that reverses a list.",
    "math": "Ann has 3 apples and buys 4 more. How many apples has she now?",
}


@pytest.mark.parametrize("kind", ASKED)
def test_what_a_task_carries_outweighs_its_words(kind):
    asked = task(ASKED[kind])
    assert detect(asked).kind == kind
    assert detect(replace(asked, tools=(WEATHER,))).kind == "function_calling"
    assert detect(replace(asked, tests=(Check("call", "f(1)", 1),))).kind == "coding"


@pytest.mark.parametrize(("answer", "kind"), [("12", "math"), ("3/4", "math"), ("Rome", "chat"), (None, "chat")])
def test_a_number_as_the_answer_is_evidence_of_mathematics(answer, kind):
    assert detect(replace(task("And what comes out?"), answer=answer)).kind == kind


def test_a_kind_is_chosen_among_those_that_there_are():
    asked = task(ASKED["coding"])
    assert detect(asked, ("math", "chat")).kind == "chat"
    assert detect(asked, ("coding",)).kind == "coding"
    assert detect(asked, ("search",)).kind == "search"


def test_only_the_last_request_is_read():
    first, last = ({"role": "user", "content": ASKED[kind]} for kind in ("coding", "chat"))
    answer = {"role": "assistant", "content": "```python\ndef reverse(xs): return xs[::-1]\n```"}
    assert detect(replace(task(""), messages=(first, answer, last))).kind == "chat"
    assert detect(replace(task(""), messages=(last, answer, first))).kind == "coding"


def test_a_system_prompt_tips_the_scale_where_the_request_says_little():
    assert detect(task("The sum of its digits.")).kind == "chat"
    assert detect(task("The sum of its digits.", system="Write a Python function that does this.")).kind == "coding"
    assert detect(task(ASKED["math"], system="You answer questions about code.")).kind == "math"


def test_a_message_in_parts():
    parts = [{"type": "text", "text": ASKED["coding"]}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert detect(replace(task(""), messages=({"role": "user", "content": parts},))).kind == "coding"


def test_nothing_is_said():
    assert detect(task("")).kind == "chat"
    assert detect(replace(task(""), messages=())).kind == "chat"


@given(st.text(max_size=400))
def test_any_text_is_of_some_kind(text):
    evidence = detect(task(text))
    assert evidence.kind in KINDS
    assert evidence.scores[evidence.kind] == max(evidence.scores.values())


@pytest.mark.parametrize("text", ["(" * 20_000, "a " * 20_000, "1 " * 20_000, "write " * 5_000, "- f(" + "a, " * 9_000])
def test_a_long_prompt_takes_no_time(text):
    began = time.perf_counter()
    detect(task(text))
    assert time.perf_counter() - began < 5.0

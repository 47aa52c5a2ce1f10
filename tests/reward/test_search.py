"""Answers to questions of fact, and what the original framework paid for instead."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.config import build, check, compose
from llmft.reward.search import F1, Containment, ExactMatch, Reasoning, Searched, accepted, normalized, overlap
from llmft.types import Author, Rollout, Task

FORM = "<answer>{answer}</answer>"
FOUND = "<information>Doc 1: The Eiffel Tower. <answer>Rome</answer> Therefore London.</information>"


def task(answer: str | None = "Paris") -> Task:
    return Task("t", ({"role": "user", "content": "Where is the Eiffel Tower?"},), "search", answer=answer)


def rollout(text: str, answer: str | None = "Paris", *, tool: int = 0) -> Rollout:
    authors = (Author.POLICY,) * 3 + (Author.TOOL,) * tool
    return Rollout(task(answer), (), (1,) * len(authors), (0.0,) * len(authors), authors, "policy", text, "stop")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The Eiffel-Tower!", "eiffeltower"),
        ("  A  cat,\n an owl and THE dog. ", "cat owl and dog"),
        ("another theatre", "another theatre"),  # articles are words
        ("1,000.5", "10005"),
        ("«Così»", "«così»"),  # ASCII's punctuation only, as in SQuAD's script
        ("the", ""),
    ],
)
def test_normalisation_is_squads(text, plain):
    assert normalized(text) == plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("So it is <answer>Paris</answer>", 1.0),
        ("<answer> the paris. </answer>", 1.0),
        ("<answer>Rome</answer> No: <answer>Paris</answer>", 1.0),  # the last one counts
        ("<answer>Paris</answer> No: <answer>Rome</answer>", 0.0),
        ("<answer>Paris</answer> and <answer>Rome", 1.0),  # what was never closed states nothing
        ("<answer>Paris, France</answer>", 0.0),
        ("<answer>Paris or Rome</answer>", 0.0),
        ("<answer></answer>", 0.0),
        ("<answer>the</answer>", 0.0),
        ("Paris", 0.0),
        ("Paris</answer>", 0.0),
        ("", 0.0),
        (f"<search>Eiffel</search>{FOUND}<answer>Paris</answer>", 1.0),
        ("<information><answer>Paris</answer></information>", 0.0),  # retrieved, not stated
        (f"<answer>Paris</answer>{FOUND}", 1.0),
    ],
)
def test_exact_match(text, value):
    assert ExactMatch(form=FORM)([rollout(text)]) == [value]


@pytest.mark.parametrize(
    ("said", "answer", "value"),
    [
        ("Paris", "Paris", 1.0),
        ("Paris France", "Paris", 2 * (1 / 2) * 1 / (1 / 2 + 1)),  # precision 1/2, recall 1: 2/3
        ("Paris", "city of Paris", 2 * 1 * (1 / 3) / (1 + 1 / 3)),  # 1/2
        ("to be or not to be", "to be", 2 * (2 / 6) * 1 / (2 / 6 + 1)),  # a word counts as often as in both: 1/2
        ("Rome", "Paris", 0.0),
        ("", "Paris", 0.0),
        ("the", "Paris", 0.0),
    ],
)
def test_f1_by_hand(said, answer, value):
    assert overlap(said, answer) == pytest.approx(value, abs=1e-12)
    assert F1(form=FORM)([rollout(f"<answer>{said}</answer>", answer)]) == [pytest.approx(value, abs=1e-12)]


def test_several_accepted_answers():
    answers = json.dumps(["United States", "USA", "the US"])
    said = ["<answer>us</answer>", "<answer>USA.</answer>", "<answer>United Kingdom</answer>", "no"]
    assert ExactMatch(form=FORM)([rollout(text, answers) for text in said]) == [1.0, 1.0, 0.0, 0.0]
    assert F1(form=FORM)([rollout(text, answers) for text in said]) == [1.0, 1.0, 0.5, 0.0]  # the nearest
    assert accepted(task("[0, 1)")) == ["[0, 1)"]  # no JSON
    assert accepted(task("[1, 2]")) == ["[1, 2]"]  # not of texts


words = st.lists(st.sampled_from(["red", "blue", "green"]), max_size=6).map(" ".join)


@given(words, words)
def test_f1_is_symmetric_and_one_for_the_same_words_alone(one, two):
    value = overlap(one, two)
    assert value == overlap(two, one)
    assert 0 <= value <= 1
    assert (value == 1.0) == (sorted(one.split()) == sorted(two.split()) != [])


def test_a_form_without_an_end_reaches_to_the_end_of_its_line():
    part = ExactMatch(form="#### {answer}")
    assert part([rollout("#### Rome\n#### Paris\nThat is it."), rollout("#### Rome")]) == [1.0, 0.0]
    assert part([rollout(part.gold(task()))]) == [1.0]


@pytest.mark.parametrize("form", ["answer", " {answer}.", "<a>{answer}{answer}</a>"])
def test_forms_that_cannot_be(form):
    with pytest.raises(ValueError, match="no telling where an answer begins"):
        ExactMatch(form=form)


@pytest.mark.parametrize("part", [ExactMatch(form=FORM), F1(form=FORM), Containment()])
def test_tasks_that_cannot_be_scored_are_faults(part):
    assert part.faults([task(), task('["Paris", "City of Light"]')]) == []
    assert part.faults([task(), task(None)])[0].startswith("1 tasks have no answer, first 't'")
    for answer in ("", "the", '["Paris", "an"]', "?!"):
        (fault,) = part.faults([task(answer), task()])
        assert fault.startswith("1 tasks cannot be scored, first 't': an answer has no word in it but articles")


@pytest.mark.parametrize("part", [ExactMatch(form=FORM), F1(form=FORM), Containment()])
def test_gold_scores_full_marks(part):
    for answer in ("Paris", '["Paris", "City of Light"]', "[0, 1) is half open"):
        assert part([rollout(part.gold(task(answer)), answer)]) == [1.0]


def test_a_search_is_told_by_who_wrote_the_tokens():
    texts = rollout("I <search>searched</search>."), rollout(FOUND), rollout("x", tool=2)
    assert Searched()(texts) == [0.0, 0.0, 1.0]


def test_the_originals_parts_and_how_they_are_farmed():
    listing = "It may be Rome, London, Berlin or Paris."
    assert Containment()([rollout(text) for text in ("PARIS it is", "Rome", listing, FOUND)]) == [1.0, 0.0, 1.0, 0.0]
    assert Containment()([rollout("I do not know.", "no")]) == [1.0]
    words = Reasoning(words=["therefore", "step"])
    assert words([rollout(text) for text in ("Therefore", "Step 1", "footstep", "Hence", FOUND)]) == [1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("reward", "text", "value", "correct"),
    [
        ("search", "<answer>Paris</answer>", 1.0, True),
        ("search", "<answer>Paris in France</answer>", 0.0, False),
        ("search_original", "One step: Paris", 0.5 + 0.1 + 0.2, True),
        ("search_original", "One step: Rome", 0.1 + 0.2, False),
    ],
)
def test_the_configs(reward, text, value, correct):
    cfg = compose([f"reward={reward}", "dataset.path=data.jsonl"])
    check(cfg)
    (score,) = build(cfg.reward).score([rollout(text, tool=1)])
    assert (score.value, score.correct) == (pytest.approx(value), correct)


def test_the_form_may_be_the_answer_alone():
    part = ExactMatch(form="{answer}")
    assert part([rollout(f" {part.gold(task())}\n"), rollout(f"It is {part.gold(task())}")]) == [1.0, 0.0]
    assert part([rollout(part.gold(task()))]) == [1.0]

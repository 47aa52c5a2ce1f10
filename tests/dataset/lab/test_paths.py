"""Walks over open roads: every road that is written is on the map, and the walk ends where it says."""

from __future__ import annotations

import re
from itertools import pairwise, product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.dataset.lab.paths import FAMILY, SLIPS, Paths, Walk, draw

FORM = r"[a-h][a-hA-H](,[a-h][a-hA-H])*#[a-h]"

seeds = st.integers(0, 2**32)
walks = st.builds(lambda steps, seed: next(draw(steps, Random(seed))), st.sampled_from([2, 3, 5]), seeds)
#          a  b  c  d  e
EXAMPLE = Walk("abcde", 3, open=(1, 2, 3, 4, 0), closed=(2, 0, 4, 1, 1))


def paths(**changes) -> Paths:
    values = {
        "heldout_tier": None,
        "wrong_traces": 0.0,
        "tier": "easy",
        "traces": "expert",
        "slip_easy": 0.4,
        "slip_hard": 0.98,
        "train": 200,
        "heldout": 50,
    }
    values |= {
        "test": 50,
        "seed": 0,
        "answer_form": "#{answer}",
        "form_pattern": FORM,
        "limit": None,
        "trace_file": None,
        "base": "x",
        "response_tokens": 64,
    }
    return Paths(**{**values, **changes})


def test_an_example():
    listed, _, question = EXAMPLE.prompt(Random(0)).partition(":")
    assert sorted(listed.split(",")) == ["aC", "ab", "bA", "bc", "cE", "cd", "dB", "de", "eB", "ea"]
    assert question == "a3="
    assert EXAMPLE.write(0.0, Random(0)) == ("ab,bc,cd", "d")
    assert EXAMPLE.write(1.0, Random(0)) == ("aC,cE,eB", "b")
    assert EXAMPLE.answer == "d"


@given(walks, seeds)
def test_the_expert_is_right_and_a_writer_who_never_slips_is_the_expert(walk, seed):
    working, answer = walk.write(0.0, Random(seed))
    assert answer == walk.answer
    assert (working, answer) == walk.write(0.0, Random(seed + 1))
    assert working == working.lower()


@given(walks, st.floats(0, 1), seeds)
def test_the_working_is_a_walk_on_the_map_to_what_is_answered(walk, slip, seed):
    listed, _, question = walk.prompt(Random(seed)).partition(":")
    working, answer = walk.write(slip, Random(seed))
    taken = working.split(",")
    assert set(taken) <= set(listed.split(","))
    assert len(taken) == walk.steps == int(question[1])
    assert taken[0][0] == question[0]
    assert all(one[1].lower() == following[0] for one, following in pairwise(taken))
    assert answer == taken[-1][1].lower()
    assert re.fullmatch(FORM, f"{working}#{answer}")


@given(walks)
def test_every_place_has_one_open_and_one_closed_road_elsewhere(walk):
    for place, (open_to, closed_to) in enumerate(zip(walk.open, walk.closed, strict=True)):
        assert len({place, open_to, closed_to}) == 3
    right = [walk.end("0" * steps) for steps in range(walk.steps + 1)]
    assert len(set(right)) == walk.steps + 1  # nowhere twice


@given(walks)
def test_no_likely_wrong_walk_ends_in_the_right_place(walk):
    right = walk.end("0" * walk.steps)
    for slips in SLIPS[walk.steps]:
        assert walk.end(slips) != right


def test_which_wrong_walks_are_ruled_out():
    for steps in (2, 3):
        assert set(SLIPS[steps]) == {"".join(marks) for marks in product("01", repeat=steps)} - {"0" * steps}
    assert len(SLIPS[5]) == 5 + 5 + 1


@given(walks, seeds)
def test_the_order_of_the_roads_makes_no_other_question(walk, seed):
    assert walk.prompt(Random(seed)).count(",") == 2 * len(walk.names) - 1
    listed = [walk.prompt(Random(other)) for other in range(20)]
    assert len(set(listed)) > 10
    assert len({",".join(sorted(prompt.partition(":")[0].split(","))) for prompt in listed}) == 1


def test_names_and_steps_make_other_questions():
    assert Walk("edcba", 3, EXAMPLE.open, EXAMPLE.closed).key != EXAMPLE.key
    assert Walk("abcde", 2, EXAMPLE.open, EXAMPLE.closed).key != EXAMPLE.key


def test_two_maps_that_read_the_same_are_one_question():
    # places 1 and 2 change numbers, and so do their names: the map is the same
    first = Walk("abc", 2, open=(1, 2, 0), closed=(2, 0, 1))
    second = Walk("acb", 2, open=(2, 0, 1), closed=(1, 2, 0))
    assert sorted(first.prompt(Random(0))) == sorted(second.prompt(Random(0)))
    assert first.key == second.key


@pytest.mark.parametrize(
    ("tier", "steps"), [("easy", {2, 3}), ("hard", {5}), ("mixed", {2, 3, 5}), ("base", {2, 3, 5})]
)
def test_tiers(tier, steps):
    train = paths(tier=tier).load().train
    assert {int(task.messages[0]["content"][-2]) for task in train} == steps
    assert {task.meta["tier"] for task in train} == {"hard" if n == 5 else "easy" for n in steps}


def test_a_sloppy_writer_is_right_as_often_as_the_odds_say():
    train = paths(tier="base", traces="sloppy", train=3000).load().train
    easy = [task for task in train if task.meta["tier"] == "easy"]
    right = sum(task.traces[0].text.endswith(f"#{task.answer}") for task in easy) / len(easy)
    assert right == pytest.approx((0.6**2 + 0.6**3) / 2, abs=0.03)  # luck is ruled out
    hard = [task for task in train if task.meta["tier"] == "hard"]
    assert sum(task.traces[0].text.endswith(f"#{task.answer}") for task in hard) / len(hard) < 0.01


def test_the_family_is_named():
    assert (FAMILY.name, FAMILY.easy, FAMILY.hard, FAMILY.base) == ("paths", (2, 3), (5,), (2, 3))

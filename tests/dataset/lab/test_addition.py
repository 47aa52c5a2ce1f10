"""Column addition: what is written adds up, column by column, to what is answered."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.dataset.lab.addition import FAMILY, Addition, Sum, draw

FORM = r"\d{4}(,\d{4})*#\d+"  # as in conf/dataset/lab_addition.yaml, which tests/test_conf.py composes

digits = st.integers(1, 6)
sums = digits.flatmap(lambda n: st.tuples(*[st.integers(10 ** (n - 1), 10**n - 1)] * 2)).map(lambda pair: Sum(*pair))
seeds = st.integers(0, 2**32)


def addition(**changes) -> Addition:
    values = {
        "heldout_tier": None,
        "wrong_traces": 0.0,
        "tier": "easy",
        "traces": "expert",
        "slip_easy": 0.6,
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
    return Addition(**{**values, **changes})


def test_the_published_example():
    problem = Sum(478, 356)
    assert problem.prompt(Random(0)) == "478+356="
    assert problem.write(0.0, Random(0)) == ("8614,7513,4308", "834")  # 14: 1 and 4; 13: 1 and 3; 8
    assert problem.write(1.0, Random(0)) == ("8604,7502,4307", "724")  # no carry ever arrives


@given(sums, seeds)
def test_the_expert_is_right_and_a_writer_who_never_slips_is_the_expert(problem, seed):
    working, answer = problem.write(0.0, Random(seed))
    assert answer == problem.answer == str(problem.a + problem.b)
    assert (working, answer) == problem.write(0.0, Random(seed + 1))


@given(sums, st.floats(0, 1), seeds)
def test_the_working_is_consistent_with_what_was_written(problem, slip, seed):
    working, answer = problem.write(slip, Random(seed))
    columns = working.split(",")
    carried, digits_written = 0, ""
    for column, x, y in zip(columns, reversed(str(problem.a)), reversed(str(problem.b)), strict=True):
        assert column[:2] == x + y
        total = int(x) + int(y) + carried
        assert int(column[3]) == total % 10
        assert int(column[2]) in ({0, 1} if total > 9 else {0})  # a carry may be forgotten, never made up
        carried = int(column[2])
        digits_written = column[3] + digits_written
    assert answer == ("1" if carried else "") + digits_written
    assert re.fullmatch(FORM, f"{working}#{answer}")


@given(sums, seeds)
def test_who_forgets_a_carry_is_wrong(problem, seed):
    working, answer = problem.write(0.5, Random(seed))
    forgot = working != problem.write(0.0, Random(seed))[0]
    assert forgot == (answer != problem.answer)


@given(sums)
def test_carries_are_counted(problem):
    working, _ = problem.write(0.0, Random(0))
    assert problem.carries() == sum(int(column[2]) for column in working.split(","))


@given(seeds)
def test_hard_sums_carry_often(seed):
    problem = next(draw(5, Random(seed)))
    assert (len(str(problem.a)), len(str(problem.b))) == (5, 5)
    assert problem.carries() >= 3


def test_either_order_is_one_question():
    assert Sum(478, 356).key == Sum(356, 478).key
    assert Sum(478, 356).key != Sum(478, 357).key


@pytest.mark.parametrize(("tier", "lengths"), [("easy", {3}), ("hard", {5}), ("mixed", {3, 5}), ("base", {2, 3, 5})])
def test_tiers(tier, lengths):
    train = addition(tier=tier).load().train
    assert {task.messages[0]["content"].index("+") for task in train} == lengths
    assert {task.meta["tier"] for task in train} == {"hard" if n == 5 else "easy" for n in lengths}


def test_the_base_is_seven_tenths_easy_and_its_writers_slip_as_often_as_they_should():
    train = addition(tier="base", traces="sloppy", train=4000, slip_easy=0.5).load().train
    easy = [task for task in train if task.meta["tier"] == "easy"]
    assert len(easy) / len(train) == pytest.approx(0.7, abs=0.03)
    right = sum(task.traces[0].text.endswith(f"#{task.answer}") for task in easy) / len(easy)
    sums = [Sum(*map(int, task.messages[0]["content"].rstrip("=").split("+"))) for task in easy]
    expected = sum(0.5 ** problem.carries() for problem in sums) / len(sums)  # right where no carry is forgotten
    assert right == pytest.approx(expected, abs=0.03)
    hard = [task for task in train if task.meta["tier"] == "hard"]
    assert not any(task.traces[0].text.endswith(f"#{task.answer}") for task in hard)  # at most .02^3


def test_the_family_is_named():
    assert (FAMILY.name, FAMILY.easy, FAMILY.hard, FAMILY.base) == ("addition", (3,), (5,), (2, 3))

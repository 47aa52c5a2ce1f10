"""What is read from the runs of a table: curves of several stages, and their values at equal wall time."""

from __future__ import annotations

import pytest
from small_table import write_table

from experiments.results import SECONDS, TOKENS, Reading, Readings, at_seconds, curve_of, extend, load, metric, save
from experiments.spec import read

EASY, HARD = "heldout/accuracy/easy", "heldout/accuracy/hard"


@pytest.fixture
def table(tmp_path):
    return read(write_table(tmp_path / "table"))


def stage(values, *, first=0, seconds=2.0, tokens=10.0):
    """Rows of a run whose every second step is evaluated; its steps take so long and generate so much."""
    rows = []
    for step in range(2 * len(values) - 1):
        row = {"step": step} | ({SECONDS: seconds, TOKENS: tokens} if step else {})
        rows.append(row | ({EASY: values[step // 2], HARD: 0.0} if step % 2 == 0 else {}))
    return rows


def result(seconds, easy, hard):
    curve = {"step": list(range(len(easy))), "seconds": seconds, "tokens": seconds, EASY: easy, HARD: hard}
    return {"curve": curve, "final": {EASY: easy[-1], HARD: hard[-1]}}


def test_stages_follow_one_another():
    curve = {name: [] for name in ("step", "seconds", "tokens", EASY, HARD)}
    spent = dict.fromkeys(("step", "seconds", "tokens"), 0.0)
    extend(curve, [{"step": 0, SECONDS: 5.0, TOKENS: 100.0}], spent)  # collecting: no steps, but its cost
    extend(curve, stage([0.1, 0.2]), spent)
    extend(curve, stage([0.2, 0.3, 0.4], seconds=1.0, tokens=0.0), spent)
    assert curve["step"] == [0, 2, 4, 6]  # the second stage's step 0 is the first one's last
    assert curve["seconds"] == [5, 9, 11, 13]
    assert curve["tokens"] == [100, 120, 120, 120]
    assert curve[EASY] == [0.1, 0.2, 0.3, 0.4]


def test_evaluations_are_no_part_of_the_wall_time():
    curve = {name: [] for name in ("step", "seconds", "tokens", EASY)}
    rows = [
        {"step": 0, EASY: 0.1, "time/evaluate_s": 50.0},
        {"step": 1, SECONDS: 2.0, EASY: 0.2, "time/evaluate_s": 50.0},
    ]
    extend(curve, rows, dict.fromkeys(("step", "seconds", "tokens"), 0.0))
    assert curve["seconds"] == [0, 2]


@pytest.mark.parametrize(
    ("budget", "reading"),
    [
        (0.0, Reading(0.1)),
        (5.0, Reading(0.2)),  # half-way between .1 at 0 s and .3 at 10 s
        (10.0, Reading(0.3)),
        (15.0, Reading(0.4)),  # a quarter of the way to .7 at 30 s
        (30.0, Reading(0.7)),
        (31.0, Reading(0.7, short=True)),  # over before
    ],
)
def test_a_curve_is_read_on_the_straight_line(budget, reading):
    found = at_seconds([0, 10, 30], [0.1, 0.3, 0.7], budget)
    assert found == Reading(pytest.approx(reading.value), reading.short)


def test_before_its_first_point_a_curve_is_what_it_began_with():
    assert at_seconds([5, 10], [0.1, 0.3], 1.0) == Reading(0.1)  # the time before went into collecting


def test_equal_wall_is_that_of_the_quickest_of_the_named_rows_by_seed(table):
    ran = {
        "mixed-grpo-seed1": result([0, 10], [0.0, 1.0], [0.0, 0.0]),
        "mixed-sft_then_grpo-seed1": result([0, 4], [0.0, 0.5], [0.0, 0.0]),
        "mixed-grpo-seed2": result([0, 6], [0.0, 1.0], [0.0, 0.0]),
        "mixed-sft_then_grpo-seed2": result([0, 8], [0.0, 0.5], [0.0, 0.0]),
    }
    readings = Readings(table, ran)
    assert [readings.budget("mixed", seed) for seed in (1, 2, 3)] == [4, 6, None]
    grpo = readings.at_wall("mixed", "grpo", "easy", [1, 2, 3])
    assert grpo == {1: Reading(pytest.approx(0.4)), 2: Reading(1.0)}
    assert readings.at_wall("mixed", "sft_then_grpo", "easy", [2]) == {2: Reading(pytest.approx(0.375))}


def test_a_row_that_is_no_part_of_equal_wall_may_be_over_before(table):
    shorter = table.model_copy(update={"equal_wall": ["grpo"]})
    ran = {"mixed-grpo-seed1": result([0, 10], [0, 1], [0, 0])}
    ran["mixed-sft_then_grpo-seed1"] = result([0, 4], [0, 0.5], [0, 0])
    found = Readings(shorter, ran).at_wall("mixed", "sft_then_grpo", "easy", [1])
    assert found == {1: Reading(0.5, short=True)}


def test_the_base_is_step_0_and_never_over_before(table):
    readings = Readings(table, {"mixed-grpo-seed1": result([0, 10], [0.25, 1.0], [0.0, 0.5])})
    assert readings.at_end("mixed", "base", "both", [1]) == {1: Reading(0.125)}
    assert readings.at_wall("mixed", "base", "easy", [1]) == {1: Reading(0.25)}
    assert readings.result("mixed", "base", 1)["curve"]["seconds"] == [0]


def test_a_row_is_not_read_where_it_does_not_apply(table):
    only = table.rows["grpo"].model_copy(update={"trainings": []})
    there = table.model_copy(update={"rows": {**table.rows, "grpo": only}})
    assert Readings(there, {"mixed-grpo-seed1": result([0], [0], [0])}).at_end("mixed", "grpo", "easy", [1]) == {}


def test_a_metric_is_the_mean_of_its_columns(table):
    assert metric(table, {EASY: 0.5, HARD: 0.25}, "both") == 0.375
    assert curve_of(table, result([0, 1], [0.0, 1.0], [0.5, 0.5]), "both") == [0.25, 0.75]


def test_results_are_written_a_cell_a_line_and_read_back(tmp_path):
    cells = {"b": {"final": {"x": 0.1}}, "a": {"final": {"x": 1 / 3}}}
    save(tmp_path, cells)
    assert load(tmp_path) == cells
    assert [line[:5] for line in (tmp_path / "results.json").read_text().splitlines()[1:3]] == ['  "a"', '  "b"']
    assert load(tmp_path / "elsewhere") == {}

"""`benchmarks/grpo_step.py`: what it prints is what was measured, and it runs from end to end."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from llmft.config import ROOT


@pytest.fixture
def benchmarks(monkeypatch):
    """The folder, so that its modules can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_sides_take_turns_and_each_goes_first(benchmarks):
    from side_by_side import in_turns

    order = []
    sides = {name: lambda turn, name=name: order.append((name, turn)) or turn * 10 for name in ("a", "b")}
    assert in_turns(sides, 3) == {"a": [0, 10, 20], "b": [0, 10, 20]}
    assert order == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]


def test_ratios_are_of_each_turn(benchmarks):
    from side_by_side import middle, paired_ratios

    assert paired_ratios([3.0, 8.0, 5.0], [1.0, 2.0, 5.0]) == [3.0, 4.0, 1.0]
    assert middle([3.0, 4.0, 1.0], 2) == "3.00 (1.00-4.00)"
    assert middle([1234.5], 1) == "1,234.5"


def test_a_table_is_markdown(benchmarks):
    from side_by_side import table

    assert (
        table(["tier", "s"], [["easy", 0.2], ["mixed", 1]])
        == "| tier | s |\n| --- | --- |\n| easy | 0.2 |\n| mixed | 1 |"
    )


def test_rest_is_what_no_phase_has(benchmarks):
    from grpo_sides import PHASES, Run

    run, phases = Run(), {"generate": 0.5, "reward": 0.125, "batch": 0.0625, "update": 1.0, "sync": 0.0}
    for total in (2.0, 3.0, 4.0):
        run.add(total, phases, no_signal=0.25, length=19.0)
    assert set(run.phases) == set(PHASES)
    assert run.phases["rest"] == [2.0 - 1.6875, 3.0 - 1.6875, 4.0 - 1.6875]
    assert run.cut(1, 3).total == [3.0, 4.0]
    assert run.cut(1, 2).phases["update"] == [1.0]


@pytest.mark.slow
def test_both_sides_run(tmp_path):
    """On the base and the tasks of the real thing, a few steps; also the time to an accuracy, which they do not reach."""
    written = tmp_path / "results.json"
    script = ROOT / "benchmarks" / "grpo_step.py"
    options = ["--quick", "--tiers", "easy", "--time-to-accuracy", "--json", str(written)]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'gradient_checkpointing': False" in done.stdout
    results = json.loads(written.read_text())
    assert [one["tier"] for one in results["steps"]] == ["easy"]
    assert all(ratio > 0 for ratio in results["steps"][0]["ratios"])
    seed = results["times"][0]["seeds"][0]
    assert seed["llmft"]["steps"] == seed["TRL"]["steps"] == 5
    assert all(len(seed[side]["accuracies"]) == 1 for side in ("llmft", "TRL"))
    assert [row[1] for row in results["memory"]] == ["llmft", "TRL"]

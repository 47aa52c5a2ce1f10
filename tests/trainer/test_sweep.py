import json
import math

import pytest

from llmft.trainer.sweep import interval, print_sweep, rows


def run(folder, seed, value, status="completed", overrides=("algorithm=grpo",), objective="heldout/accuracy"):
    folder.mkdir(parents=True)
    told = {"overrides": [*overrides, f"seed={seed}", "hydra.sweep.dir=x"], "seed": seed}
    (folder / "manifest.json").write_text(json.dumps(told))
    summary = {"status": status, "objective": {"name": objective, "value": value}, "before": {}}
    summary |= {"error": "Traceback:\n  ...\nValueError: empty"} if status == "failed" else {}
    (folder / "summary.json").write_text(json.dumps(summary))


def test_the_interval_of_three_values_by_hand():
    """1, 2, 3: mean 2, deviation 1, t(0.975, 2) = 4.302653, so 4.302653 / sqrt(3)."""
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.302652729911275 / math.sqrt(3), abs=1e-9)
    assert interval([5.0]) == (5, math.inf)


def test_runs_that_differ_by_their_seed_alone_are_averaged(tmp_path, capsys):
    for place, (seed, value) in enumerate([(1, 0.5), (2, 0.7)]):
        run(tmp_path / str(place), seed, value)
    run(tmp_path / "2", 3, None, status="failed")
    run(tmp_path / "10", 1, 0.9, overrides=("algorithm=dr_grpo",))
    run(tmp_path / "3", 2, 0.1, status="running")
    assert [(row.folder.name, row.settings, row.seed, row.status) for row in rows(tmp_path)] == [
        ("10", ("algorithm=dr_grpo",), 1, "completed"), ("0", ("algorithm=grpo",), 1, "completed"),
        ("1", ("algorithm=grpo",), 2, "completed"), ("3", ("algorithm=grpo",), 2, "killed"),
        ("2", ("algorithm=grpo",), 3, "failed"),
    ]  # fmt: skip
    print_sweep(tmp_path)
    shown = capsys.readouterr().out
    assert f"{tmp_path}: 3 of 5 jobs completed" in shown
    assert "2: ValueError: empty" in shown
    assert "0.6000 ± 1.2706" in " ".join(shown.split())  # t(0.975, 1) = 12.7062, deviation 0.1414, over sqrt(2)
    assert shown.count("95 % interval") == 1


def test_what_all_jobs_share_is_said_once_and_their_order_does_not_matter(tmp_path, capsys):
    run(tmp_path / "0", 1, 0.5, overrides=("algorithm=grpo", "trainer.max_steps=5", "optimizer.lr=0.1"))
    run(tmp_path / "1", 2, 0.7, overrides=("optimizer.lr=0.1", "trainer.max_steps=5", "algorithm=grpo"))
    run(tmp_path / "2", 1, 0.7, overrides=("optimizer.lr=0.2", "trainer.max_steps=5", "algorithm=grpo"))
    print_sweep(tmp_path)
    shown = capsys.readouterr().out
    assert "0.6000 ± 1.2706" in " ".join(shown.split())
    assert shown.count("trainer.max_steps=5") == 1
    assert "all of them: algorithm=grpo trainer.max_steps=5" in shown


def test_runs_with_several_objectives_have_no_column_of_one(tmp_path, capsys):
    run(tmp_path / "0", 1, 0.5, overrides=("algorithm=grpo",))
    run(tmp_path / "1", 1, 9.5, overrides=("algorithm=sft",), objective="heldout/perplexity")
    print_sweep(tmp_path)
    shown = capsys.readouterr().out
    assert "heldout" not in shown
    assert "objective" in shown


def test_a_folder_without_runs_prints_nothing(tmp_path, capsys):
    print_sweep(tmp_path)
    assert capsys.readouterr().out == ""

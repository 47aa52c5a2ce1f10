import json
import math

import pytest

from llmft.trainer.sweep import interval, print_sweep, rows


def run(folder, seed, value, status="completed", overrides=("algorithm=grpo",)):
    folder.mkdir(parents=True)
    told = {"overrides": [*overrides, f"seed={seed}", "hydra.sweep.dir=x"], "seed": seed}
    (folder / "manifest.json").write_text(json.dumps(told))
    summary = {"status": status, "objective": {"name": "heldout/accuracy", "value": value}, "before": {}}
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
    assert [(row.folder.name, row.settings, row.seed) for row in rows(tmp_path)] == [
        ("0", "algorithm=grpo", 1), ("1", "algorithm=grpo", 2), ("2", "algorithm=grpo", 3), ("10", "algorithm=dr_grpo", 1)
    ]  # fmt: skip
    print_sweep(tmp_path)
    shown = capsys.readouterr().out
    assert "0.6000 ± 1.2706" in " ".join(shown.split())  # t(0.975, 1) = 12.7062, deviation 0.1414, over sqrt(2)
    assert shown.count("mean") == 1


def test_a_folder_without_runs_prints_nothing(tmp_path, capsys):
    print_sweep(tmp_path)
    assert capsys.readouterr().out == ""

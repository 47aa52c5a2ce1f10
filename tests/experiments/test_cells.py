"""Cells and their snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_table import write_table

from experiments import cells
from experiments.cells import Cell, Places
from experiments.spec import read
from llmft.config import ROOT, ConfigError, compose, identity, settings

TABLES = sorted(path.parent for path in (ROOT / "experiments").glob("*/table.yaml"))


@pytest.fixture
def places(tmp_path):
    return Places(write_table(tmp_path / "small"), Path("logs/tables/small"))


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize("folder", TABLES, ids=lambda path: path.name)
def test_what_a_table_composes_today_passes_check_and_is_what_its_snapshots_say(folder):
    table, places = read(folder), Places(folder, Path("logs/tables") / folder.name)
    # Raises for what a run would be refused for.
    assert cells.outdated(table, cells.cells_of(table), places) == []


def test_the_cells_of_a_table_are_its_rows_trainings_and_seeds_none_twice(places):
    found = [cell.name for cell in cells.cells_of(read(places.table))]
    both = ["mixed-grpo-seed{}", "mixed-sft_then_grpo-seed{}"]  # the base is GRPO's step 0
    assert found == [name.format(seed) for seed in (1, 2) for name in both]


def test_a_part_of_a_table_can_be_asked_for(places):
    table = read(places.table)
    assert cells.cells_of(table, rows=["base"], seeds=[2]) == [Cell("mixed", "grpo", 2)]
    assert len(cells.cells_of(table, blocks=["methods"])) == 4


def test_a_row_is_not_run_where_it_does_not_apply(tmp_path):
    trainings = {"mixed": {"label": "m", "overrides": []}, "hard": {"label": "h", "overrides": ["dataset.tier=hard"]}}
    folder = write_table(
        tmp_path,
        trainings=trainings,
        blocks__methods__trainings=["mixed", "hard"],
        rows__sft_then_grpo__trainings=["mixed"],
    )
    assert Cell("hard", "sft_then_grpo", 1) not in cells.cells_of(read(folder))
    assert len(cells.cells_of(read(folder))) == 6


def test_a_snapshot_is_the_resolved_config_of_a_stage(places):
    table = read(places.table)
    cell = Cell("mixed", "sft_then_grpo", 2)
    assert cells.write_snapshots(table, [cell], places) == 2
    after = cells.values_of(places.snapshot(cell, "grpo").read_text())
    assert after["seed"] == 2
    assert after["model"]["path"] == "logs/tables/small/mixed-sft_then_grpo-seed2/sft/final"
    assert after["trainer"]["max_steps"] == 2  # the stage's, not that of every run
    overrides = [*table.every_run, *table.trainings["mixed"].overrides, *table.rows["sft_then_grpo"].stages["sft"]]
    expected = identity(settings(compose([*overrides, "seed=2"])))
    assert cells.identities(table, cell, places)["sft"] == expected


def test_snapshots_that_are_there_stay_unless_they_are_asked_for_anew(places):
    table = read(places.table)
    chosen = cells.cells_of(table)
    assert cells.write_snapshots(table, chosen, places) == 6
    file = places.snapshot(chosen[0], "grpo")
    replace_in(file, "group_size: 2", "group_size: 4")
    assert cells.write_snapshots(table, chosen, places) == 0
    assert "group_size: 4" in file.read_text()
    second = places.snapshot(chosen[1], "grpo")  # of a cell of two stages
    replace_in(second, "group_size: 2", "group_size: 4")
    places.snapshot(chosen[1], "sft").unlink()
    assert cells.write_snapshots(table, chosen, places) == 1
    assert "group_size: 4" in second.read_text()
    assert cells.write_snapshots(table, chosen, places, anew=True) == 6
    assert "group_size: 2" in file.read_text()


def test_a_difference_from_a_snapshot_is_named_by_its_keys(places):
    table = read(places.table)
    chosen = cells.cells_of(table)
    cells.write_snapshots(table, chosen, places)
    assert cells.outdated(table, chosen, places) == []
    replace_in(places.snapshot(chosen[0], "grpo"), "group_size: 2", "group_size: 4")
    replace_in(places.snapshot(chosen[2], "grpo"), "max_steps: 4", "max_steps: 3")  # more steps are a difference here
    replace_in(places.snapshot(chosen[3], "sft"), "max_steps: 2", "max_steps: 3")  # and fewer
    places.snapshot(chosen[1], "sft").unlink()
    stray = places.table / "snapshots" / "mixed-ppo-seed1" / "ppo.yaml"
    stray.parent.mkdir()
    stray.write_text("seed: 1")
    assert sorted(cells.outdated(table, chosen, places)) == [
        "mixed-grpo-seed1/grpo: algorithm.group_size",
        "mixed-grpo-seed2/grpo: trainer.max_steps",
        "mixed-ppo-seed1/ppo: the table has no such cell",
        "mixed-sft_then_grpo-seed1/sft: it has no snapshot",
        "mixed-sft_then_grpo-seed2/sft: trainer.max_steps",
    ]


def test_a_stage_that_collects_is_told_the_runs_overrides_its_folders_and_its_seed(tmp_path):
    collect = {"module": "llmft.guidance.collect", "arguments": ["--own", "--out", "{own}/traces.jsonl"]}
    last = ["algorithm=sft", "algorithm.without_trace=skip"]
    folder = write_table(tmp_path / "small", rows__grpo__stages={"own": collect, "sft": last})
    table, places = read(folder), Places(folder, Path("runs/small"))
    cell = Cell("mixed", "grpo", 2)
    cells.write_snapshots(table, [cell], places)
    arguments = cells.arguments_of(places.snapshot(cell, "own"))
    assert arguments[:3] == ["--own", "--out", "runs/small/mixed-grpo-seed2/own/traces.jsonl"]
    assert arguments[3:] == [*table.every_run, *table.trainings["mixed"].overrides, "seed=2"]
    assert cells.outdated(table, [cell], places) == []


def test_what_a_run_would_be_refused_for_is_told_with_its_cell(tmp_path):
    folder = write_table(tmp_path, rows__grpo__stages={"grpo": ["algorithm.group_size=1"]})
    table, places = read(folder), Places(folder, Path("runs"))
    with pytest.raises(ConfigError, match=r"mixed, grpo, grpo: algorithm\.group_size=1: a group of one"):
        list(cells.snapshots(table, cells.cells_of(table), places))


def test_the_code_is_known_by_what_trains(monkeypatch, tmp_path):
    (tmp_path / "llmft").mkdir()
    (tmp_path / "train.py").write_text("a")
    (tmp_path / "llmft" / "b.py").write_text("b")
    monkeypatch.setattr(cells, "ROOT", tmp_path)
    before = cells.code()
    (tmp_path / "README.md").write_text("told")
    assert cells.code() == before
    (tmp_path / "llmft" / "b.py").write_text("c")
    assert cells.code() != before

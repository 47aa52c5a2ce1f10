"""The cells of a table: a row, a training and a seed, with the resolved config of each of its stages.

A cell is run from its snapshots, ``snapshots/CELL/STAGE.yaml``; what the table composes today only makes those that are
missing, and is compared with those that are there.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig, OmegaConf

from experiments.spec import Collect, Table
from llmft import durable
from llmft.config import ROOT, ConfigError, compose, differing_keys, identity, settings, snapshot
from llmft.config.checks import find_faults

Composed = DictConfig | Collect


class Cell(NamedTuple):
    training: str
    row: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.training}-{self.row}-seed{self.seed}"


@dataclass(frozen=True, slots=True)
class Places:
    """Where a table is, and where its runs go: from the working directory, so that snapshots hold no machine's paths."""

    table: Path
    runs: Path

    def snapshot(self, cell: Cell, stage: str) -> Path:
        return self.table / "snapshots" / cell.name / f"{stage}.yaml"

    def run(self, cell: Cell, stage: str) -> Path:
        return self.runs / cell.name / stage

    def log(self, cell: Cell, stage: str) -> Path:
        return self.runs / cell.name / f"{stage}.log"


def cells_of(
    table: Table, blocks: Sequence[str] = (), rows: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[Cell]:
    """The cells that are run, seed by seed; none twice. Without ``blocks``, ``rows`` or ``seeds``, those of all."""
    chosen = [block for name, block in table.blocks.items() if not blocks or name in blocks]
    found = dict.fromkeys(
        Cell(training, table.rows[row].step_0_of or row, seed)
        for block in chosen
        for seed in block.seeds
        for training in block.trainings
        for row in block.rows
        if table.applies(row, training) and (not rows or row in rows) and (not seeds or seed in seeds)
    )
    return sorted(found, key=lambda cell: cell.seed)


def composed(table: Table, cell: Cell, places: Places) -> dict[str, Composed]:
    """What each stage of ``cell`` is asked for, by its name; the seed still stands as ``${seed}``.

    Raises:
        ConfigError: for what a run would be refused for.
    """
    of_any_seed = Cell(cell.training, cell.row, "${seed}")  # type: ignore[arg-type]
    folders = {stage: str(places.run(of_any_seed, stage)) for stage in table.rows[cell.row].stages}
    asked: dict[str, Composed] = {}
    for stage, wanted in table.rows[cell.row].stages.items():
        shared = [*table.every_run, *table.trainings[cell.training].overrides]
        if isinstance(wanted, Collect):
            given = [*wanted.arguments, *shared, "seed=${seed}"]
            asked[stage] = Collect(module=wanted.module, arguments=[_filled(one, folders) for one in given])
            continue
        lines = [*shared, *wanted]
        try:
            asked[stage] = cfg = compose([_filled(line, folders) for line in lines])
            faults = find_faults(cfg)
        except ConfigError as error:
            faults = list(error.faults)
        if faults:
            raise ConfigError([f"{cell.training}, {cell.row}, {stage}: {fault}" for fault in faults])
    return asked


def _filled(text: str, folders: Mapping[str, str]) -> str:
    for stage, folder in folders.items():
        text = text.replace("{" + stage + "}", folder)
    return text


def snapshots(table: Table, cells: Sequence[Cell], places: Places) -> Iterator[tuple[Cell, str, str]]:
    """The text of each cell's snapshots as the table composes them today, by stage. Raises ConfigError."""
    made: dict[tuple[str, str], dict[str, Composed]] = {}
    for cell in cells:
        key = (cell.training, cell.row)
        if key not in made:  # composing is what costs, and seeds differ by one value
            made[key] = composed(table, cell, places)
        for stage, asked in made[key].items():
            yield cell, stage, _text(asked, cell.seed)


def _text(asked: Composed, seed: int) -> str:
    if isinstance(asked, Collect):
        values = {"module": asked.module, "arguments": [one.replace("${seed}", str(seed)) for one in asked.arguments]}
        return yaml.safe_dump(values, sort_keys=False)
    asked.seed = seed
    return snapshot(asked)


def write_snapshots(table: Table, cells: Sequence[Cell], places: Places, *, anew: bool = False) -> int:
    """Write the snapshots of ``cells`` that are not there, or all; how many were written. Raises ConfigError."""
    stages = {cell: table.rows[cell.row].stages for cell in cells}
    lacking = [cell for cell in cells if anew or not all(places.snapshot(cell, one).is_file() for one in stages[cell])]
    written = 0
    for cell, stage, text in snapshots(table, lacking, places):
        file = places.snapshot(cell, stage)
        if anew or not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            durable.write_text(file, text)
            written += 1
    return written


def outdated(table: Table, cells: Sequence[Cell], places: Places) -> list[str]:
    """Where what the table composes today is not what its snapshots say: ``CELL/STAGE: keys``."""
    told = []
    for cell, stage, text in snapshots(table, cells, places):
        file = places.snapshot(cell, stage)
        if not file.is_file():
            told.append(f"{cell.name}/{stage}: it has no snapshot")
        elif (saved := file.read_text(encoding="utf-8")) != text and (
            keys := _differing(values_of(saved), values_of(text))
        ):
            told.append(f"{cell.name}/{stage}: {', '.join(keys)}")
    known = {places.snapshot(cell, stage) for cell in cells_of(table) for stage in table.rows[cell.row].stages}
    there = places.table.joinpath("snapshots").glob("*/*.yaml")
    return told + [f"{file.parent.name}/{file.stem}: the table has no such cell" for file in there if file not in known]


def values_of(text: str) -> dict[str, Any]:
    """The settings that a snapshot holds."""
    return settings(OmegaConf.create(text))  # type: ignore[arg-type]


def _differing(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return sorted({*differing_keys(saved, now), *differing_keys(now, saved)})  # in turn: more steps count here


def identities(table: Table, cell: Cell, places: Places) -> dict[str, str]:
    """What each stage of ``cell`` computes, as ten hex digits, read from its snapshots."""
    return {stage: identity_of(places.snapshot(cell, stage)) for stage in table.rows[cell.row].stages}


def identity_of(file: Path) -> str:
    """What a saved config computes."""
    return identity(values_of(file.read_text(encoding="utf-8")))


def arguments_of(file: Path) -> list[str]:
    """What the snapshot of a stage that collects is run with."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))["arguments"]


def is_committed() -> bool:
    """Does git hold what a run is made of, as it is here? A table's own results, being written, are no part of it."""
    made_of = ("train.py", "llmft", "conf", "bases")
    asked = ["git", "-C", str(ROOT), "status", "--porcelain", "--", *made_of]
    try:
        return not subprocess.run(asked, capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return False


def code() -> str:
    """Ten hex digits that stand for the code that trains: a commit that only tells of it changes no number."""
    content = hashlib.sha256()
    for file in [ROOT / "train.py", *sorted((ROOT / "llmft").rglob("*.py"))]:
        content.update(json.dumps([str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")]).encode())
    return content.hexdigest()[:10]

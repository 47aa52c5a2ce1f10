"""What a finished cell leaves in ``results.json``: its curve, what it cost, and where it comes from; and reading it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from experiments.cells import Cell, Places, is_committed
from experiments.spec import Collect, Table
from llmft import durable
from llmft.trainer.metrics import read as read_metrics
from llmft.trainer.run import MANIFEST, METRICS

FILE = "results.json"
COST = "cost.json"  # in the folder of a stage that collects
SECONDS, TOKENS = "time/step_s", "speed/generated_tokens"
Result = dict[str, Any]
Curve = dict[str, list[float]]  # step, seconds, tokens and the columns that the table reads; a value per evaluation


def load(table: Path) -> dict[str, Result]:
    """The results of the cells, by name; empty where none was run yet."""
    file = table / FILE
    return json.loads(file.read_text(encoding="utf-8"))["cells"] if file.is_file() else {}


def save(table: Path, results: Mapping[str, Result]) -> None:
    """Write the results, a cell a line, so that a reader of a change sees which cells changed."""
    lines = [f"  {json.dumps(name)}: {json.dumps(results[name])}" for name in sorted(results)]
    durable.write_text(table / FILE, '{"cells": {\n' + ",\n".join(lines) + "\n}}\n")


def result_of(
    table: Table, cell: Cell, places: Places, *, identities: Mapping[str, str], code: str, at_once: int
) -> Result:
    """What the finished runs of ``cell`` say.

    Args:
        identities: of what each of its stages computes.
        code: stands for the code that made them.
        at_once: cells that went on beside each other.
    """
    from llmft.trainer.provenance import versions

    curve: Curve = {name: [] for name in ("step", "seconds", "tokens", *table.columns())}
    commits, spent = [], {"step": 0.0, "seconds": 0.0, "tokens": 0.0}
    for stage, wanted in table.rows[cell.row].stages.items():
        folder = places.run(cell, stage)
        if isinstance(wanted, Collect):
            made = cost_of(folder)
        else:
            made = read_metrics(folder / METRICS)
            commits.append(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["code"]["commit"] or "no git")
        extend(curve, made, spent)
    return {
        "curve": {name: [round(one, 6) for one in values] for name, values in curve.items()},
        "final": {name: curve[name][-1] for name in table.columns()},
        "identities": dict(identities),
        "commits": sorted(set(commits)),
        "uncommitted": not is_committed(),
        "code": code,
        "machine": {**machine(), "torch": versions()["torch"], "at_once": at_once},
    }


def extend(curve: Curve, rows: Sequence[Mapping[str, float]], spent: dict[str, float]) -> None:
    """Add the evaluations of a stage to ``curve``, its steps, seconds and tokens counted on from what was ``spent``.

    Seconds are those of training: evaluations cost the same in every row, and are no part of a method. What a stage
    finds before its first step is what the stage before found after its last.
    """
    steps = spent["step"]
    for row in rows:
        spent["step"] = steps + row["step"]
        spent["seconds"] += row.get(SECONDS, 0.0)
        spent["tokens"] += row.get(TOKENS, 0.0)
        evaluated = all(name in row for name in curve if name not in spent)
        if evaluated and not (row["step"] == 0 and curve["step"]):
            for name, values in curve.items():
                values.append(spent[name] if name in spent else row[name])


def cost_of(folder: Path) -> list[dict[str, float]]:
    """What collecting cost, as a row of metrics."""
    told = json.loads((folder / COST).read_text(encoding="utf-8"))
    return [{"step": 0, SECONDS: told["seconds"], TOKENS: told["tokens"]}]


def machine() -> dict[str, Any]:
    """What this computes on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {"cpu": model, "cpus": os.cpu_count()}


def metric(table: Table, values: Mapping[str, float], name: str) -> float:
    """A metric of the table: the mean of the columns that it is made of."""
    return fmean(values[column] for column in table.metrics[name])


def curve_of(table: Table, result: Result, name: str) -> list[float]:
    """A metric of the table at each evaluation."""
    curve = result["curve"]
    return [
        metric(table, {column: curve[column][place] for column in table.columns()}, name)
        for place in range(len(curve["step"]))
    ]


class Reading(NamedTuple):
    value: float
    short: bool = False  # the run ended before the budget, and this is its end


def at_seconds(seconds: Sequence[float], values: Sequence[float], budget: float) -> Reading:
    """A curve at so many seconds, on the straight line between the evaluations before and after."""
    if budget >= seconds[-1]:
        return Reading(values[-1], short=budget > seconds[-1])
    after = next(place for place, one in enumerate(seconds) if one > budget)
    if after == 0:
        return Reading(values[0])
    before = after - 1
    share = (budget - seconds[before]) / (seconds[after] - seconds[before])
    return Reading(values[before] + share * (values[after] - values[before]))


class Readings:
    """Every number of a table, read from the results of its cells."""

    def __init__(self, table: Table, results: Mapping[str, Result]) -> None:
        self.table, self.results = table, results

    def result(self, training: str, row: str, seed: int) -> Result | None:
        """Of a cell; of a row that is another one's step 0, that cell's curve cut to it. None if it was not run."""
        asked = self.table.rows[row]
        if not self.table.applies(row, training):
            return None
        found = self.results.get(Cell(training, asked.step_0_of or row, seed).name)
        if found is None or not asked.step_0_of:
            return found
        curve = {name: values[:1] for name, values in found["curve"].items()}
        return {**found, "curve": curve, "final": {name: curve[name][0] for name in self.table.columns()}}

    def at_end(self, training: str, row: str, name: str, seeds: Sequence[int]) -> dict[int, Reading]:
        """A metric after the last step, by seed; without the cells that were not run."""
        found = {seed: self.result(training, row, seed) for seed in seeds}
        return {seed: Reading(metric(self.table, one["final"], name)) for seed, one in found.items() if one}

    def at_wall(self, training: str, row: str, name: str, seeds: Sequence[int]) -> dict[int, Reading]:
        """A metric at the seed's budget of seconds, by seed; a run that was over before stands with its end."""
        found: dict[int, Reading] = {}
        for seed in seeds:
            one, budget = self.result(training, row, seed), self.budget(training, seed)
            if one is not None and budget is not None:
                reading = at_seconds(one["curve"]["seconds"], curve_of(self.table, one, name), budget)
                found[seed] = reading._replace(short=reading.short and not self.table.rows[row].step_0_of)
        return found

    def budget(self, training: str, seed: int) -> float | None:
        """Seconds of training of the quickest of the rows that ``equal_wall`` names; None if none of them was run."""
        rows = [row for row in self.table.equal_wall if self.table.applies(row, training)]
        run = [one for row in rows if (one := self.result(training, row, seed))]
        return min((one["curve"]["seconds"][-1] for one in run), default=None)

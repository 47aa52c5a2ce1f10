"""What the jobs of a sweep reached: ``python -m llmft.trainer.sweep FOLDER``, and the end of every ``-m``.

A row per run, and where runs differ by nothing but the seed, their mean with a 95 % interval of Student's t.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    folder: Path
    settings: str  # what was typed for this run, without the seed
    seed: int
    status: str
    objective: str
    before: float | None
    value: float | None


def rows(folder: Path) -> list[Row]:
    """The runs below ``folder``, in the order of their names."""
    found = []
    for manifest in sorted(folder.glob("*/manifest.json"), key=lambda path: (len(path.parent.name), path.parent.name)):
        told = json.loads(manifest.read_text(encoding="utf-8"))
        summary = json.loads((manifest.parent / "summary.json").read_text(encoding="utf-8"))
        settings = " ".join(one for one in told["overrides"] if not one.startswith(("seed=", "hydra.")))
        name, value = summary["objective"]["name"], summary["objective"]["value"]
        before = summary["before"].get(name)
        found.append(Row(manifest.parent, settings, told["seed"], summary["status"], name, before, value))
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and the half width of its 95 % interval, Student's t. Infinite for a single value."""
    from statistics import fmean, stdev  # here, because `train.py` imports this file whatever it is asked for

    from scipy.stats import t

    if len(values) < 2:
        return fmean(values), math.inf
    return fmean(values), float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))


def print_sweep(folder: Path) -> None:
    """Print the table of the runs below ``folder``; nothing if there are none."""
    from rich.console import Console
    from rich.table import Table

    runs = rows(folder)
    if not runs:
        return
    table = Table(title=f"{folder}: {len(runs)} runs", title_justify="left")
    for column in ("run", "settings", "seed", "status", "before", runs[0].objective):
        table.add_column(column, justify="right" if column in ("seed", "before", runs[0].objective) else "left")
    for settings in dict.fromkeys(run.settings for run in runs):
        group = [run for run in runs if run.settings == settings]
        for run in group:
            values = (_number(run.before), _number(run.value))
            table.add_row(run.folder.name, settings, str(run.seed), run.status, *values)
        done = [run.value for run in group if run.status == "completed" and run.value is not None]
        if len(done) > 1:
            mean, half = interval(done)
            told = f"{mean:.4f} ± {half:.4f}"
            table.add_row("mean", settings, f"n={len(done)}", "95 % interval", "", told, style="bold", end_section=True)
    Console().print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the sweep's folder")
    print_sweep(parser.parse_args().folder)

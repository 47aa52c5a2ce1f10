"""What the jobs of a sweep reached: ``python -m llmft.trainer.sweep FOLDER``, and the end of every ``-m``.

A row per run, and where runs differ by nothing but the seed, their mean with a 95 % interval of Student's t.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmft.config.faults import INTERRUPTED, TERMINATED
from llmft.trainer.launcher import brief

if TYPE_CHECKING:
    from llmft.trainer.jobs import Job, Standing
    from llmft.trainer.performing import Outcome


class Row(NamedTuple):
    folder: Path
    settings: tuple[str, ...]  # what was typed for this run, without the seed
    seed: int
    status: str
    objective: str = ""
    before: float | None = None
    value: float | None = None
    seconds: float | None = None  # of its steps and evaluations, all its processes together
    error: str = ""
    other_code: bool = False  # it began with other code than what is here now


def rows(folder: Path) -> list[Row]:
    """The runs below ``folder``, by what was typed for them and their seeds."""
    found = [_row(manifest.parent, None) for manifest in folder.glob("*/manifest.json")]
    return sorted(found, key=lambda row: (row.settings, row.seed, row.folder.name))


def row_of(job: Job, ended: Outcome | None, left: Standing | None) -> Row:
    """The row of a sweep's job: what its folder says, and, where that says less, how it ended or why it was left."""
    row = _row(job.folder, job)
    if left is not None and left.what in ("running elsewhere", "not this job's"):
        return row._replace(
            status="running elsewhere" if left.what == "running elsewhere" else "refused", error=left.why
        )
    if ended is not None and ended.code == 0 and row.status == "not started":  # a job that keeps no run folder
        return row._replace(status="completed", objective=job.cfg.objective, value=ended.value)
    if ended is not None and ended.code not in (0, INTERRUPTED, TERMINATED) and row.status != "failed":
        return row._replace(status="failed", error=ended.error)
    return row


def _row(folder: Path, job: Job | None) -> Row:
    from llmft.config import ROOT
    from llmft.trainer.jobs import read, written
    from llmft.trainer.provenance import code
    from llmft.trainer.run import MANIFEST, SUMMARY

    told, summary = read(folder / MANIFEST), read(folder / SUMMARY)
    overrides = job.overrides if job else told["overrides"]
    settings = settings_of(overrides)
    seed = job.cfg.seed if job else told["seed"]
    if not told:
        return Row(folder, settings, seed, "not started")
    status = summary.get("status", "running")
    objective = summary.get("objective") or {"name": "", "value": None}
    spent = [value for name, value in summary.get("seconds", {}).items() if name in ("time/step_s", "time/evaluate_s")]
    return Row(
        folder,
        settings,
        seed,
        "killed" if status == "running" and not written(folder) else status,
        objective["name"],
        summary.get("before", {}).get(objective["name"]),
        objective["value"],
        sum(spent) if spent else None,
        summary.get("error", ""),
        other_code="code" in told and told["code"] != code(ROOT),
    )


def settings_of(overrides: Sequence[str]) -> tuple[str, ...]:
    """Of what was typed for a run, that which is not its seed and does not say how its sweep goes."""
    return tuple(one for one in overrides if not one.startswith(("seed=", "hydra.", "hydra/", "sweep.")))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and the half width of its 95 % interval, Student's t. Infinite for a single value."""
    from statistics import fmean, stdev  # here, because `train.py` imports this file whatever it is asked for

    from scipy.stats import t

    if len(values) < 2:
        return fmean(values), math.inf
    return fmean(values), float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))


def print_sweep(folder: Path) -> None:
    """Print the table of the runs below ``folder``; nothing if there are none."""
    if found := rows(folder):
        print_jobs(found, str(folder))


def print_jobs(runs: Sequence[Row], title: str) -> None:
    """Print a table of ``runs``, and below it what went wrong."""
    from rich.console import Console
    from rich.table import Table

    shared = [one for one in runs[0].settings if len(runs) > 1 and all(one in run.settings for run in runs)]
    names = list(dict.fromkeys(run.objective for run in runs if run.objective))
    value = names[0] if len(names) == 1 else "objective"
    done = sum(run.status == "completed" for run in runs)
    table = Table()
    right = ("seed", "before", value, "time")
    for column in ("settings", *right, "status", "folder"):
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column in ("status", "folder"))
    for settings in dict.fromkeys(frozenset(run.settings) for run in runs):
        group = [run for run in runs if frozenset(run.settings) == settings]
        text = " ".join(one for one in group[0].settings if one not in shared)
        for run in group:
            values = (_number(run.before), _number(run.value), _clock(run.seconds))
            table.add_row(text, str(run.seed), *values, run.status + " *" * run.other_code, run.folder.name)
        _add_mean(table, text, [run.value for run in group if run.status == "completed"])
    console = Console() if Console().is_terminal else Console(width=140)
    console.print(f"{title}: {done} of {len(runs)} jobs completed", highlight=False, soft_wrap=True, markup=False)
    console.print(table)
    notes = [f"all of them: {' '.join(shared)}"] if shared else []
    notes += ["* begun with other code than what is here now"] if any(run.other_code for run in runs) else []
    notes += [f"{run.folder.name}: {brief(run.error)}" for run in runs if run.error and run.status != "completed"]
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True, markup=False)


def _add_mean(table: Any, text: str, values: Sequence[float | None]) -> None:
    known = [value for value in values if value is not None]
    if len(known) > 1:
        mean, half = interval(known)
        told = ("", f"{mean:.4f} ± {half:.4f}", "", "95 % interval", "")
        table.add_row(text, f"n={len(known)}", *told, style="bold", end_section=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the sweep's folder")
    print_sweep(parser.parse_args().folder)

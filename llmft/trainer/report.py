"""The last thing that a run prints: what it reached, what it cost, where it lies, how to repeat and continue it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llmft.trainer.run import RunFolder

INSIDE_A_STEP = ("generate", "reward", "logps", "update", "sync")


def print_report(console: Console, run: RunFolder, seconds: Mapping[str, float]) -> None:
    """Print the summary of a finished run."""
    before, after = run.heldout()
    names = list(after) or [name for name in run.metrics.columns if name.startswith("train/")]
    first, last = (before, after) if after else ({}, {name: run.metrics.last(name) for name in names})
    table = Table(title=f"{run.path.name}: {run.metrics.last('step') or 0:.0f} steps", title_justify="left")
    for column in ("metric", "before", "after"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name in names:
        style = "bold" if name == run.objective else None
        table.add_row(name, _number(first.get(name)), _number(last.get(name)), style=style)
    console.print()
    console.print(table)
    phases = {name.removeprefix("time/").removesuffix("_s"): value for name, value in seconds.items()}
    phases["other"] = phases.pop("step", 0.0) - sum(phases.get(name, 0.0) for name in INSIDE_A_STEP)
    spent = "  ".join(f"{name} {value:.1f}" for name, value in phases.items() if value >= 0.05)
    _say(console, "seconds", spent)
    for note in run.health:
        again = f" and {note['steps'] - 1} more" if note["steps"] > 1 else ""
        _say(console, "health", f"step {note['step']}{again}: {escape(note['text'])}")
    _say(console, "folder", str(run.path))
    _say(console, "repeat", f"python train.py --config-dir {_shown(run.path)} --config-name config")
    _say(console, "continue", f"python train.py ckpt_path={_shown(run.path)} trainer.max_steps=MORE")


def _say(console: Console, title: str, text: str) -> None:
    console.print(f"[bold]{title:<9}[/bold]{text}", highlight=False, soft_wrap=True)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4f}"


def _shown(path: Path) -> str:
    """As short as it can be from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

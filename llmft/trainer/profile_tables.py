"""A profile as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from rich.console import RenderableType
from rich.table import Table

from llmft.trainer.operators import Operators

BESIDES = ("step", "evaluate", "records")  # of a step's seconds: the whole, and what comes after it
BAR, OPERATOR = 30, 36  # characters


class Profiled(NamedTuple):
    steps: Sequence[Mapping[str, float]]  # seconds of each timed step
    operators: Operators | None

    def phases(self) -> dict[str, float]:
        """Seconds of each phase, the mean of the steps; a phase that a step lacks took none."""
        names = dict.fromkeys(name for step in self.steps for name in step if name not in BESIDES)
        return {name: fmean(step.get(name, 0.0) for step in self.steps) for name in names}

    def each(self, name: str) -> float | None:
        """Seconds of what not every step has, each time."""
        times = [step[name] for step in self.steps if name in step]
        return fmean(times) if times else None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        seconds = {name: self.each(name) for name in BESIDES}
        known = self.operators
        return {
            "timed_steps": len(self.steps),
            "phase_s": self.phases(),
            **{f"{name}_s": value for name, value in seconds.items() if value is not None},
            "operators": [row._asdict() for row in known.rows] if known else [],
            "python_ms": known.python_ms if known else {},
        }


def tables(profiled: Profiled, rows: int, folder: Path) -> list[RenderableType]:
    """What a person sees of it."""
    shown: list[RenderableType] = [""]
    if profiled.steps:
        shown += [_phase_table(profiled), *_besides(profiled)]
    else:
        shown.append("no step was timed; raise trainer.max_steps, or lower callbacks.profile.warm_up")
    if profiled.operators is not None:
        shown += ["", _operator_table(profiled.operators, rows)]
    return [*shown, f"[bold]profile[/bold]  {folder}"]


def _phase_table(profiled: Profiled) -> Table:
    count, whole = len(profiled.steps), profiled.each("step") or 0.0
    table = Table(title=f"a step by the clock: the mean of {count}", title_justify="left")
    table.add_column("phase")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    table.add_column("", width=BAR)
    for name, seconds in profiled.phases().items():
        share = seconds / whole if whole else 0.0
        table.add_row(name, f"{seconds:.4f}", f"{share:.1%}", "█" * round(BAR * share))
    table.add_section()
    table.add_row("step", f"{whole:.4f}", "100.0%")
    return table


def _besides(profiled: Profiled) -> list[str]:
    lines = []
    evaluate, records = profiled.each("evaluate"), profiled.each("records")
    if evaluate is not None:
        lines.append(f"an evaluation besides takes {evaluate:.4f} s each time")
    if records is not None:
        lines.append(f"what follows a step (rows, samples, checkpoints) took {records:.4f} s on average")
    return lines


def _operator_table(known: Operators, rows: int) -> Table:
    on_gpu = any(row.gpu_ms for row in known.rows)
    whole = sum(row.cpu_ms for row in known.rows) + sum(known.python_ms.values())
    device = sum(row.gpu_ms for row in known.rows)
    table = Table(title="a step under torch's profiler: the costliest operators", title_justify="left")
    table.add_column("operator", no_wrap=True, overflow="ellipsis", width=OPERATOR)
    for name in ("phase", "calls", "CPU ms", *(["GPU ms"] if on_gpu else []), "share"):
        table.add_column(name, justify="left" if name == "phase" else "right", no_wrap=True)
    for row in known.rows[:rows]:
        share = row.gpu_ms / device if on_gpu else row.cpu_ms / whole
        gpu = [f"{row.gpu_ms:.2f}"] if on_gpu else []
        table.add_row(row.name, row.phase, f"{row.calls:.0f}", f"{row.cpu_ms:.2f}", *gpu, f"{share:.1%}")
    table.add_section()
    for phase, spent in sorted(known.python_ms.items(), key=lambda one: -one[1])[:3]:
        last = [""] * 2 if on_gpu else [f"{spent / whole:.1%}"]
        table.add_row("(none: Python, waiting)", phase, "", f"{spent:.2f}", *last)
    return table

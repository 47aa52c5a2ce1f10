"""The operators of a traced step, by the phase that called them."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from llmft.algorithm.metrics import PHASE


class Operator(NamedTuple):
    """One operator in one phase; milliseconds are a step's, without those of the operators that it called."""

    name: str
    phase: str
    calls: float
    cpu_ms: float
    gpu_ms: float


class Operators(NamedTuple):
    rows: list[Operator]  # the costliest first
    python_ms: dict[str, float]  # of each phase, what was in no operator: Python, and waiting


def operators(events: Iterable[Any], steps: int) -> Operators:
    """What torch's profiler saw, per step.

    Args:
        events: its ``FunctionEvent``s.
        steps: how many steps they are of.
    """
    own = [event for event in events if event.device_type.name == "CPU"]
    spans = sorted((one.time_range.start, one.time_range.end, one.name) for one in own if one.name.startswith(PHASE))
    starts = [start for start, _, _ in spans]
    calls: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    python: dict[str, float] = defaultdict(float)
    for event in own:
        place = bisect_right(starts, event.time_range.start) - 1
        inside = place >= 0 and event.time_range.start < spans[place][1]
        phase = spans[place][2].removeprefix(PHASE) if inside else "other"
        if event.name.startswith(PHASE):
            python[phase] += event.self_cpu_time_total / 1000 / steps
            continue
        sums = calls[event.name, phase]
        sums[0] += 1 / steps
        sums[1] += event.self_cpu_time_total / 1000 / steps
        sums[2] += event.self_device_time_total / 1000 / steps
    rows = [Operator(name, phase, *sums) for (name, phase), sums in calls.items()]
    on_gpu = any(row.gpu_ms for row in rows)
    return Operators(sorted(rows, key=lambda row: -(row.gpu_ms if on_gpu else row.cpu_ms)), dict(python))

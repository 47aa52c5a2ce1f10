"""What the benchmarks against another library share: who ran where, fair turns, medians with their spread, tables, memory."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
MIB = 2**20


def machine(threads: int, packages: Sequence[str]) -> str:
    """One line: the processor, the threads that are used, and versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {threads} thread(s); Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def in_turns(sides: Mapping[str, Callable[[int], T]], repeats: int) -> dict[str, list[T]]:
    """What each side returns for 0, 1, ..., the sides taking turns and each going first as often as the others."""
    results: dict[str, list[T]] = {name: [] for name in sides}
    for repeat in range(repeats):
        names = list(sides)
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            results[name].append(sides[name](repeat))
    return results


def middle(values: Sequence[float], digits: int = 3) -> str:
    """The median, and from where to where the values go."""
    shown = f"{statistics.median(values):,.{digits}f}"
    return shown if len(values) == 1 else f"{shown} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def paired_ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Of each turn, so that what slows the machine down for a while slows both."""
    return [one / other for one, other in zip(above, below, strict=True)]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def peak_mib() -> float:
    """Most memory that this process has had in use so far. `getrusage` would count the process that started it, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / MIB


def in_new_process(script: str, arguments: Sequence[str]) -> Any:
    """What ``python script arguments`` prints as its last line, which is JSON. For memory, which a process never gives back.

    Raises:
        RuntimeError: if it failed, with what it said.
    """
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])

"""How rewards, parts and latencies lie, as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from llmft import durable

INK, ACCENT, GRID = "#20364b", "#c8512c", "#e3e7eb"
BARS = 30


def draw(path: Path, title: str, values: Mapping[str, Sequence[float]], seconds: Sequence[float]) -> None:
    """Write the picture: a panel for each of ``values``, the first of which stands out, and one of latencies."""
    # The object interface, which starts no window system and leaves no global figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {name: some for name, some in values.items() if some}
    count = len(panels) + bool(seconds)
    wide = min(4, max(2, count))
    high = max(1, -(-count // wide))
    figure = Figure(figsize=(3.6 * wide, 0.5 + 2.6 * high), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, color=INK)
    axes = figure.subplots(high, wide, squeeze=False).flatten()
    for axis, (name, some) in zip(axes, panels.items(), strict=False):
        _histogram(axis, name, some, ACCENT if axis is axes[0] else INK)
    if seconds:
        _latencies(axes[len(panels)], seconds)
    for axis in axes[count:]:
        axis.set_visible(False)
    written = BytesIO()
    figure.savefig(written, dpi=130, format="png")
    durable.write_bytes(path, written.getvalue())


def _histogram(axis: Any, name: str, values: Sequence[float], colour: str) -> None:
    """How many responses have which value: a bar for each where there are few, else for each stretch."""
    distinct = sorted(set(values))
    if len(distinct) <= BARS // 2:
        span = (distinct[-1] - distinct[0]) or 1.0
        gaps = [high - low for low, high in pairwise(distinct)] or [span / 4]
        width = min(max(0.8 * min(gaps), span / 100), span / 8)
        axis.bar(distinct, [values.count(one) for one in distinct], width=width, color=colour)
        axis.set_xlim(distinct[0] - max(width, span / 10), distinct[-1] + max(width, span / 10))
    else:
        axis.hist(values, bins=BARS, color=colour)
    other = ACCENT if colour == INK else INK
    axis.axvline(sum(values) / len(values), color=other, linewidth=1.2, linestyle="--", label="mean")
    axis.legend(fontsize=8, frameon=False)
    _dress(axis, name, "value", "responses")


def _latencies(axis: Any, seconds: Sequence[float]) -> None:
    """The share of responses that are scored within a time."""
    from matplotlib.ticker import LogFormatter

    unit, name = (1e3, "milliseconds") if median(seconds) >= 1e-3 else (1e6, "microseconds")
    ordered = sorted(unit * one for one in seconds)
    shares = [(place + 1) / len(ordered) for place in range(len(ordered))]
    axis.step(ordered, shares, where="post", color=INK, linewidth=1.4)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # 100, where the default writes a power
    axis.xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.4)))
    axis.set_ylim(0, 1.03)
    _dress(axis, "latency, one by one", name, "share that takes no longer")


def _dress(axis: Any, title: str, below: str, beside: str) -> None:
    axis.set_title(title, fontsize=10, color=INK, loc="left")
    axis.set_xlabel(below, fontsize=8, color=INK)
    axis.set_ylabel(beside, fontsize=8, color=INK)
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(which="both", labelsize=8, colors=INK)

"""Curves of several runs in one picture: the mean over the seeds of each setting, with a 95 % interval of Student's t.

    python -m llmft.trainer.comparison SWEEP --out picture.png

A setting is what was typed for a run, without its seed. Held-out values are drawn over steps, and over the tokens that
were generated to get there, which is what the steps of one method cost more than those of another.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from llmft.trainer.curves import GRID, INK, write
from llmft.trainer.metrics import read
from llmft.trainer.run import METRICS
from llmft.trainer.sweep import interval, settings_of

COLOURS = ("#20364b", "#c8512c", "#3f8f6b", "#8a5fb0", "#c19a2b", "#4a8fc2")
TOKENS = "speed/generated_tokens"


class Point(NamedTuple):
    """One held-out evaluation of a run."""

    step: float
    tokens: float  # generated in training until then
    value: float


def points(rows: Sequence[Mapping[str, float]], metric: str) -> list[Point]:
    """The evaluations of a run in their order."""
    tokens = accumulate(row.get(TOKENS, 0.0) for row in rows)
    return [Point(row["step"], sofar, row[metric]) for row, sofar in zip(rows, tokens, strict=True) if metric in row]


def gathered(folder: Path, metric: str) -> dict[str, list[list[Point]]]:
    """The evaluations of every run below ``folder``, by what sets its setting apart from the others'."""
    runs: dict[frozenset[str], list[list[Point]]] = {}
    typed: dict[frozenset[str], tuple[str, ...]] = {}  # in the order of the first
    for manifest in sorted(folder.rglob("manifest.json")):
        if found := points(read(manifest.parent / METRICS), metric):
            overrides = json.loads(manifest.read_text(encoding="utf-8"))["overrides"]
            setting = settings_of(overrides)
            typed.setdefault(frozenset(setting), setting)
            runs.setdefault(frozenset(setting), []).append(found)
    shared = frozenset.intersection(*runs) if len(runs) > 1 else frozenset()
    labels = {key: " ".join(one for one in setting if one not in shared) for key, setting in typed.items()}
    return {labels[key] or "default": ones for key, ones in runs.items()}


def draw(runs: Mapping[str, Sequence[Sequence[Point]]], path: Path, metric: str) -> None:
    """Write the picture. A setting whose runs were not evaluated at the same steps is drawn at those they share."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    by_tokens = any(point.tokens for ones in runs.values() for one in ones for point in one)
    columns = 2 if by_tokens else 1
    figure = Figure(figsize=(5.4 * columns, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    for colour, (setting, ones) in zip(COLOURS * len(runs), runs.items(), strict=False):
        steps, tokens, means, halves = _mean_curve(ones)
        label = f"{setting}, n={len(ones)}"
        for axis, across in zip(axes, (steps, tokens), strict=False):
            axis.plot(across, means, "o-", color=colour, markersize=3, linewidth=1.4, label=label)
            low = [mean - half for mean, half in zip(means, halves, strict=True)]
            high = [mean + half for mean, half in zip(means, halves, strict=True)]
            axis.fill_between(across, low, high, color=colour, alpha=0.13, linewidth=0)
    every = [point for ones in runs.values() for one in ones for point in one]
    for axis, name in zip(axes, ("step", "generated tokens"), strict=False):
        _dress(axis, name, metric, share=all(0 <= point.value <= 1 for point in every))
    if by_tokens:  # one method may generate ten times what another does
        axes[1].set_xscale("symlog", linthresh=min(point.tokens for point in every if point.tokens))
        axes[1].set_xlim(left=0)
    write(figure, path)


def _mean_curve(ones: Sequence[Sequence[Point]]) -> tuple[list[float], list[float], list[float], list[float]]:
    """Steps, mean tokens, means and half intervals; the half interval of a single run is 0, for there is none."""
    of_each = [{point.step: point for point in one} for one in ones]
    steps = sorted(set.intersection(*(set(one) for one in of_each)))
    tokens, means, halves = [], [], []
    for step in steps:
        mean, half = interval([one[step].value for one in of_each])
        tokens.append(sum(one[step].tokens for one in of_each) / len(of_each))
        means.append(mean)
        halves.append(half if len(ones) > 1 else 0.0)
    return steps, tokens, means, halves


def _dress(axis: Any, across: str, metric: str, *, share: bool) -> None:
    axis.set_xlabel(across, fontsize=9, color=INK)
    axis.set_title(f"{metric} by {across}", fontsize=10, color=INK, loc="left")
    if share:
        axis.set_ylim(-0.03, 1.03)  # an interval may reach beyond what a share can be
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8, colors=INK)
    axis.legend(fontsize=8, frameon=False, loc="lower right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder with runs below it, such as a sweep's")
    parser.add_argument("--metric", default="heldout/accuracy")
    parser.add_argument("--out", type=Path, default=Path("comparison.png"))
    arguments = parser.parse_args()
    runs = gathered(arguments.folder, arguments.metric)
    if not runs:
        parser.error(f"{arguments.folder}: no run below it logged {arguments.metric}")
    draw(runs, arguments.out, arguments.metric)


if __name__ == "__main__":
    main()

"""Bars: what the runs were to show, and whether they do."""

from __future__ import annotations

from experiments.results import Readings, curve_of
from experiments.spec import Bar
from experiments.statistics import apart
from llmft.trainer.sweep import interval


def told(readings: Readings, bar: Bar) -> str:
    """What a bar asks, and what came out."""
    return _below(readings, bar) if bar.kind == "below" else _apart(readings, bar)


def seeds_of(readings: Readings, bar: Bar) -> list[int]:
    """All seeds with which a block has the bar's row and training."""
    blocks = readings.table.blocks.values()
    return sorted(
        {seed for one in blocks if bar.row in one.rows and bar.training in one.trainings for seed in one.seeds}
    )


def _below(readings: Readings, bar: Bar) -> str:
    assert bar.bound is not None
    seeds = seeds_of(readings, bar)
    found = [one for seed in seeds if (one := readings.result(bar.training, bar.row, seed))]
    largest = [max(curve_of(readings.table, one, bar.metric)) for one in found]
    held = sum(one < bar.bound for one in largest)
    asked = f"{_named(readings, bar)} stays under {bar.bound} at every evaluation"
    if len(found) < len(seeds):
        return f"{asked}: {held} of the {len(found)} seeds that were run, of {len(seeds)}"
    return f"{asked}: {held} of {len(seeds)} seeds (largest {max(largest):.3f}): {_verdict(held == len(seeds))}"


def _apart(readings: Readings, bar: Bar) -> str:
    assert bar.against is not None
    seeds = seeds_of(readings, bar)
    asked = f"{_named(readings, bar)} ends above {readings.table.rows[bar.against].label}, intervals apart"
    above, below = (
        [one.value for one in readings.at_end(bar.training, row, bar.metric, seeds).values()]
        for row in (bar.row, bar.against)
    )
    if min(len(above), len(below)) < max(len(seeds), 2):
        return f"{asked}: {len(above)} and {len(below)} of {len(seeds)} seeds were run"
    ends = " against ".join(f"{mean:.3f} ± {half:.3f}" for mean, half in map(interval, (above, below)))
    return f"{asked}: {ends}, {len(seeds)} seeds: {_verdict(apart(above, below))}"


def _named(readings: Readings, bar: Bar) -> str:
    table = readings.table
    return f"{table.rows[bar.row].label} ({table.trainings[bar.training].label}, {bar.metric})"


def _verdict(holds: bool) -> str:
    return "holds" if holds else "**does not hold**"

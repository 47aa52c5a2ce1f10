"""The pictures of a table: curves over steps and over seconds, and a last accuracy over a share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.results import Readings, curve_of
from experiments.spec import Block, Table
from llmft.trainer.comparison import COLOURS
from llmft.trainer.curves import GRID, INK, write
from llmft.trainer.sweep import interval

MORE = ("#d0679d", "#6b6b6b", "#7a4a1e", "#9fb02c")  # of rows beyond the comparison's own colours
STYLES = ("o-", "s--", "^-.")  # so that a row is told from another without its colour


class Line(NamedTuple):
    across: list[float]
    means: list[float]
    halves: list[float]  # of the 95 % interval; 0 for one seed, which has none


def draw_curves(readings: Readings, block: Block, path: Path) -> None:
    """Each metric of each training over steps, and below over seconds of training."""
    metrics = _drawn_metrics(readings)
    panels = [(training, name) for training in block.trainings for name in metrics]
    figure, axes = _figure(2, len(panels))
    for column, (training, name) in enumerate(panels):
        lines = {row: _lines(readings, training, row, name, block.seeds) for row in block.rows}
        for index, (across, label) in enumerate((("step", "step"), ("seconds", "seconds of training, one thread"))):
            axis = axes[index][column]
            for row in block.rows:
                if lines[row] and not readings.table.rows[row].step_0_of:
                    _draw(axis, lines[row][across], readings.table, row)
            _dress(axis, f"{readings.table.trainings[training].label}: {name}", label)
    _legend(figure, axes)
    write(figure, path)


def draw_shares(readings: Readings, block: Block, path: Path) -> None:
    """Each metric after the last step over the share that the trainings of ``block`` differ in."""
    metrics = _drawn_metrics(readings)
    figure, axes = _figure(1, len(metrics))
    for axis, name in zip(axes[0], metrics, strict=True):
        for row in block.rows:
            found = [
                (readings.table.trainings[training].share, readings.at_end(training, row, name, block.seeds))
                for training in block.trainings
            ]
            points = [(share, [one.value for one in ones.values()]) for share, ones in found if ones]
            if points:
                line = _line([float(share or 0) for share, _ in points], [values for _, values in points])
                _draw(axis, line, readings.table, row)
        _dress(axis, f"{name} after the last step", block.axis or "")
    _legend(figure, axes)
    write(figure, path)


def _drawn_metrics(readings: Readings) -> list[str]:
    """Those that are no mean of others."""
    return [name for name, columns in readings.table.metrics.items() if len(columns) == 1]


def _lines(readings: Readings, training: str, row: str, name: str, seeds: Sequence[int]) -> Mapping[str, Line]:
    """A row's curve over steps and over mean seconds; empty if no seed was run."""
    found = [one for seed in seeds if (one := readings.result(training, row, seed))]
    if not found:
        return {}
    shared = sorted(set.intersection(*(set(one["curve"]["step"]) for one in found)))
    values, seconds = [], []
    for step in shared:
        places = [one["curve"]["step"].index(step) for one in found]
        values.append([curve_of(readings.table, one, name)[place] for one, place in zip(found, places, strict=True)])
        spent = [one["curve"]["seconds"][place] for one, place in zip(found, places, strict=True)]
        seconds.append(sum(spent) / len(spent))
    return {"step": _line(shared, values), "seconds": _line(seconds, values)}


def _line(across: list[float], values: Sequence[Sequence[float]]) -> Line:
    ends = [interval(ones) for ones in values]
    halves = [half if len(ones) > 1 else 0.0 for (_, half), ones in zip(ends, values, strict=True)]
    return Line(across, [mean for mean, _ in ends], halves)


def _figure(rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.7 * columns, 3.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _draw(axis: Any, line: Line, table: Table, row: str) -> None:
    """A line with its band, in a colour and style that are the row's in every picture of the table."""
    place = list(table.rows).index(row)
    colours = (*COLOURS, *MORE)
    colour, style, label = colours[place % len(colours)], STYLES[place % len(STYLES)], table.rows[row].label
    axis.plot(line.across, line.means, style, color=colour, markersize=3, linewidth=1.3, label=label)
    low = [mean - half for mean, half in zip(line.means, line.halves, strict=True)]
    high = [mean + half for mean, half in zip(line.means, line.halves, strict=True)]
    axis.fill_between(line.across, low, high, color=colour, alpha=0.10, linewidth=0)


def _dress(axis: Any, title: str, across: str) -> None:
    axis.set_title(title, fontsize=10, color=INK, loc="left")
    axis.set_xlabel(across, fontsize=8, color=INK)
    axis.set_ylim(-0.03, 1.03)
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8, colors=INK)


def _legend(figure: Any, axes: Any) -> None:
    """One for all panels: they draw the same rows, some of them not all."""
    found = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        found.values(),
        found.keys(),
        loc="outside lower center",
        ncols=min(4, len(found) or 1),
        fontsize=8,
        frameon=False,
    )

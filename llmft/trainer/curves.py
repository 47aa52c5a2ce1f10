"""``curves.png``: what a run did, as small pictures that share their axis of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmft import durable

INK, ACCENT, GRID = "#20364b", "#c8512c", "#e3e7eb"


class Panel(NamedTuple):
    title: str
    line: str  # logged at every step, drawn as a line
    points: str | None  # held-out, drawn as points
    share: bool = False  # between 0 and 1


PANELS = (
    Panel("reward", "train/reward_mean", "heldout/reward_mean"),
    Panel("accuracy", "train/accuracy", "heldout/accuracy", share=True),
    Panel("perplexity", "train/perplexity", "heldout/perplexity"),
    Panel("loss", "train/loss", None),
    Panel("response length, tokens", "train/length_mean", "heldout/length_mean"),
    Panel("entropy, nats", "train/entropy", None),
    Panel("gradient norm", "train/grad_norm", None),
    Panel("groups without signal", "train/no_signal", None, share=True),
)


def draw(rows: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Write the picture of ``rows``; none if there is nothing to draw."""
    panels = [panel for panel in PANELS if any(name in row for row in rows for name in panel[1:3] if name)]
    if not panels:
        return
    # The object interface, which starts no window system and leaves no global figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(4, max(2, (len(panels) + 1) // 2)) if len(panels) > 3 else len(panels)
    height = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns, 0.5 + 2.6 * height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, color=INK)
    axes = figure.subplots(height, columns, squeeze=False).flatten()
    for axis, panel in zip(axes, panels, strict=False):
        _panel(axis, panel, rows)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    write(figure, path)


def write(figure: Any, path: Path) -> None:
    """Have the figure at ``path`` as a PNG, whole or not at all."""
    temporary = path.with_name(f".tmp-{path.name}")
    figure.savefig(temporary, dpi=130, format="png")
    durable.flush(temporary)
    temporary.replace(path)


def _panel(axis: Any, panel: Panel, rows: Sequence[Mapping[str, float]]) -> None:
    steps, values = _series(rows, panel.line)
    if values:
        smooth = _smoothed(values)
        axis.plot(steps, values, color=INK, linewidth=0.8, alpha=0.3 if smooth else 1.0)
        if smooth:
            axis.plot(steps, smooth, color=INK, linewidth=1.6, label="train")
    if panel.points:
        steps, values = _series(rows, panel.points)
        if values:
            axis.plot(steps, values, "o-", color=ACCENT, markersize=4, linewidth=0.8, label="held-out")
    axis.set_title(panel.title, fontsize=10, color=INK, loc="left")
    if panel.share:
        axis.set_ylim(-0.03, 1.03)
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8, colors=INK)
    axis.set_xlabel("step", fontsize=8, color=INK)
    if panel.points and axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False)


def _series(rows: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    pairs = [(row["step"], row[name]) for row in rows if name in row]
    return [step for step, _ in pairs], [value for _, value in pairs]


def _smoothed(values: Sequence[float]) -> list[float]:
    """A centred mean over a fifteenth of the run; empty where there is too little to smooth."""
    reach = len(values) // 30
    if not reach:
        return []
    windows = [values[max(0, place - reach) : place + reach + 1] for place in range(len(values))]
    return [sum(window) / len(window) for window in windows]

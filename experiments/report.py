"""``README.md`` of a table: its question, what was run, the numbers, the pictures, and the verdict of its author."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiments import bars, picture
from experiments.cells import Places, cells_of
from experiments.results import Reading, Readings, Result
from experiments.spec import Block, Collect, Table
from experiments.statistics import difference, holm
from llmft import durable
from llmft.trainer.sweep import interval

VERDICT = "verdict.md"
Read = Callable[[str, str, str, Sequence[int]], dict[int, Reading]]
WHAT_STANDS = """\
A cell is the mean over {seeds} seeds and the half width of its 95 % interval, Student's t; accuracy is that of one
sampled response (temperature 1) to each problem of the test split, which was used to choose nothing. *Equal steps* is
the end of every run. *Equal wall* is the time that the quickest of these took with the same training and seed, from its
first step to its last, evaluations aside: {quickest}. Every run is read at that time, on the straight line between the
evaluations before and after; one that was over before is read at its end and marked ▪. *both* is the mean of the tiers."""
WHAT_P = """\
Seed by seed, the first row minus the second, with the 95 % interval of the mean difference; p of the paired t-test, two
sided, and after Holm's correction over the tests of the column."""


def write_report(table: Table, places: Places, results: Mapping[str, Result]) -> None:
    """Write README.md and the pictures of what was run so far."""
    ran = {cell.name: results[cell.name] for cell in cells_of(table) if cell.name in results}
    readings = Readings(table, ran)
    parts = [f"# {table.title}", table.question, *_head(table, places, ran)]
    if ran:
        parts += [*_bars(readings), *(part for name in table.blocks for part in _block(readings, places, name))]
    parts += _verdict(places.table)
    parts += ["## What each row is", _rows(table)]
    durable.write_text(places.table / "README.md", "\n\n".join(parts) + "\n")


def _head(table: Table, places: Places, ran: Mapping[str, Result]) -> list[str]:
    command = f"```\npython -m experiments.table {places.table.name}\n```"
    total = len(cells_of(table))
    if not ran:
        return [command, f"None of the {total} cells was run yet."]
    commits = sorted({commit for one in ran.values() for commit in one["commits"]})
    changed = " with uncommitted changes" if any(one["uncommitted"] for one in ran.values()) else ""
    codes = len({one["code"] for one in ran.values()})
    machines = sorted({_machine(one["machine"]) for one in ran.values()})
    unlike = f"; the code of {codes} versions made them" if codes > 1 else ""
    hours = sum(one["curve"]["seconds"][-1] for one in ran.values()) / 3600
    told = [
        f"* {len(ran)} of {total} cells (a row, a training, a seed), {hours:.1f} h of training on one thread each",
        f"* commit {', '.join(commits)}{changed}{unlike}",
        f"* machine: {'; '.join(machines)}",
        "* every cell is run from its resolved configs in `snapshots/`; `results.json` has every curve",
    ]
    return [command, "\n".join(told)]


def _machine(one: Mapping[str, object]) -> str:
    return f"{one['cpu']}, {one['cpus']} CPUs, torch {one['torch']}, {one['at_once']} cells at a time"


def _bars(readings: Readings) -> list[str]:
    told = [f"* {bars.told(readings, bar)}" for bar in readings.table.bars]
    return ["## Bars", "\n".join(told)] if told else []


def _block(readings: Readings, places: Places, name: str) -> list[str]:
    table, block = readings.table, readings.table.blocks[name]
    file = f"{name}.png"
    (picture.draw_shares if block.axis else picture.draw_curves)(readings, block, places.table / file)
    quickest = "; ".join(table.rows[row].label for row in table.equal_wall)
    legend = WHAT_STANDS.format(seeds=len(block.seeds), quickest=quickest)
    return [
        f"## {block.title}", legend,
        "### Equal steps", _numbers(readings, block, readings.at_end),
        "### Equal wall", _numbers(readings, block, readings.at_wall),
        "### What it cost", _costs(readings, block),
        f"![{block.title}]({file})",
        "### Differences", WHAT_P, *_differences(readings, block),
    ]  # fmt: skip


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])


def _columns(readings: Readings, block: Block) -> list[tuple[str, str]]:
    return [(training, name) for training in block.trainings for name in readings.table.metrics]


def _numbers(readings: Readings, block: Block, read: Read) -> str:
    columns, table = _columns(readings, block), readings.table
    head = ["", *(f"{table.trainings[training].label}: {name}" for training, name in columns)]
    lines = [
        [table.rows[row].label, *(_number(read(training, row, name, block.seeds), block) for training, name in columns)]
        for row in block.rows
    ]
    return _grid(head, lines)


def _number(found: Mapping[int, Reading], block: Block) -> str:
    """Mean and half interval; how many seeds, where some were not run; a mark, where a run was over before."""
    if not found:
        return "–"
    mean, half = interval([one.value for one in found.values()])
    spread = f" ± {half:.3f}" if len(found) > 1 else ""
    count = f" ({len(found)} of {len(block.seeds)})" if len(found) < len(block.seeds) else ""
    return f"{mean:.3f}{spread}{count}" + (" ▪" if any(one.short for one in found.values()) else "")


def _costs(readings: Readings, block: Block) -> str:
    """Means over the seeds: seconds of training, and thousands of tokens that were generated for it."""
    table = readings.table
    head = ["", *(f"{table.trainings[one].label}: {what}" for one in block.trainings for what in ("s", "1000 tokens"))]
    lines = []
    for row in block.rows:
        cells = [table.rows[row].label]
        for training in block.trainings:
            curves = [one["curve"] for seed in block.seeds if (one := readings.result(training, row, seed))]
            for name, unit in (("seconds", 1), ("tokens", 1000)):
                spent = [curve[name][-1] / unit for curve in curves]
                cells.append(f"{interval(spent)[0]:,.0f}" if spent else "–")
        lines.append(cells)
    return _grid(head, lines)


def _differences(readings: Readings, block: Block) -> list[str]:
    """A table for equal steps and one for equal wall."""
    table = readings.table
    pairs = [(row, block.against) for row in block.rows if row != block.against]
    pairs += [pair for pair in block.pairs if pair not in pairs]
    told = []
    for title, read in (("Equal steps", readings.at_end), ("Equal wall", readings.at_wall)):
        made: list[list[str]] = []
        for training, name in _columns(readings, block):
            tests = [_test(read, training, name, pair, block.seeds) for pair in pairs]
            corrected = holm([one.p if one else None for one in tests])
            made.append([_tested(one, p) for one, p in zip(tests, corrected, strict=True)])
        head = [title, *(f"{table.trainings[one].label}: {name}" for one, name in _columns(readings, block))]
        names = [f"{table.rows[one].label} − {table.rows[other].label}" for one, other in pairs]
        told.append(_grid(head, [[name, *(column[place] for column in made)] for place, name in enumerate(names)]))
    return told


def _test(read: Read, training: str, name: str, pair: tuple[str, str], seeds: Sequence[int]):
    one, other = (read(training, row, name, seeds) for row in pair)
    return difference({seed: at.value for seed, at in one.items()}, {seed: at.value for seed, at in other.items()})


def _tested(found, corrected: float | None) -> str:
    if found is None:
        return "–"
    if found.p is None or corrected is None:
        return f"{found.mean:+.3f}"
    return f"{found.mean:+.3f} ± {found.half:.3f}, p {_p(found.p)} ({_p(corrected)})"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _verdict(folder: Path) -> list[str]:
    file = folder / VERDICT
    return ["## Verdict", file.read_text(encoding="utf-8").strip()] if file.is_file() else []


def _rows(table: Table) -> str:
    told = [f"Every run: `{' '.join(table.every_run)}`"]
    told += [f"{one.label}: `{' '.join(one.overrides)}`" for one in table.trainings.values()]
    for row in table.rows.values():
        if row.step_0_of:
            told.append(f"**{row.label}**: {table.rows[row.step_0_of].label} before its first step")
            continue
        stages = [
            f"`{' '.join([one.module, *one.arguments] if isinstance(one, Collect) else one)}`"
            for one in row.stages.values()
        ]
        told.append(f"**{row.label}**: {', then '.join(stages)}" + (f". {row.note}" if row.note else ""))
    return "\n".join(f"* {one}" for one in told)

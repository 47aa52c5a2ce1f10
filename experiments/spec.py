"""``table.yaml``: what a table asks, of which runs, and what is read from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmft.config import ConfigError, Fault
from llmft.config.faults import ABSENT, nearest

FILE = "table.yaml"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Training(Strict):
    """What all rows of a column train on."""

    label: str
    overrides: list[str]
    share: float | None = None  # where it stands on the axis of a block that has one


class Collect(Strict):
    """A stage that makes data rather than weights: a module of this suite that is run with these arguments."""

    module: str
    arguments: list[str]


class Row(Strict):
    """A method: the stages that it trains in, one after another, or another row before its first step.

    ``{NAME}`` in an override is the run folder of the stage of that name.
    """

    label: str
    stages: dict[str, list[str] | Collect] = {}
    step_0_of: str | None = None
    trainings: list[str] | None = None  # in which it means something; None for all
    note: str = ""


class Block(Strict):
    """Rows and columns that are shown together."""

    title: str
    rows: list[str] = Field(min_length=1)
    trainings: list[str] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    against: str  # the row that every other one is tested against, seed by seed
    pairs: list[Annotated[tuple[str, str], Field(strict=False)]] = []  # further tests: the first minus the second
    axis: str | None = None  # what ``share`` of the trainings is a share of, where the block is a curve over it


class Bar(Strict):
    """Something that the runs either show or do not.

    ``below``: the row stays under ``bound`` at every evaluation of every seed. ``apart``: at its end the row's interval
    lies above that of ``against``.
    """

    kind: str = Field(pattern="^(below|apart)$")
    row: str
    training: str
    metric: str
    bound: float | None = None
    against: str | None = None


class Table(Strict):
    title: str
    question: str
    metrics: dict[str, list[str]]  # each is the mean of these columns of metrics.csv
    every_run: list[str]
    trainings: dict[str, Training]
    rows: dict[str, Row]
    blocks: dict[str, Block]
    equal_wall: list[str]  # the budget is the wall time of the quickest of these rows, by training and seed
    bars: list[Bar] = []

    def columns(self) -> list[str]:
        """The columns of metrics.csv that are read, none twice."""
        return list(dict.fromkeys(name for names in self.metrics.values() for name in names))

    def applies(self, row: str, training: str) -> bool:
        only = self.rows[row].trainings
        return only is None or training in only


def read(folder: Path) -> Table:
    """The table of ``folder``. Raises ConfigError with everything that is wrong with it."""
    file = folder / FILE
    if not file.is_file():
        raise ConfigError([Fault("table", folder.name, f"there is no {file}", "name a folder that has one")])
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        table = Table.model_validate(values)
    except yaml.YAMLError as error:
        raise ConfigError([Fault(FILE, ABSENT, f"no YAML ({' '.join(str(error).split())})", "mend it")]) from None
    except ValidationError as error:
        raise ConfigError([_fault(one) for one in error.errors()]) from None
    if faults := list(_faults(table)):
        raise ConfigError(faults)
    return table


def _fault(error: Mapping[str, Any]) -> Fault:
    where = ".".join(str(part) for part in error["loc"]) or FILE
    if error["type"] == "missing":
        return Fault(where, ABSENT, "missing", "give it a value")
    if error["type"] == "extra_forbidden":
        return Fault(where, error["input"], "there is no such key", "remove it, or mend its name")
    why = error["msg"][:1].lower() + error["msg"][1:]
    return Fault(where, error["input"], why, "see experiments/spec.py for what belongs there")


def _faults(table: Table) -> Iterator[Fault]:
    """What one part of a table says that another has no place for."""
    for kind in ("trainings", "rows", "blocks", "metrics"):
        for name in getattr(table, kind):
            if not name.isidentifier():
                yield Fault(kind, name, "a name becomes a part of a folder's", "use letters, digits and underscores")
    for name, row in table.rows.items():
        yield from _row_faults(table, row, f"rows.{name}")
    for name, block in table.blocks.items():
        yield from _block_faults(table, block, f"blocks.{name}")
    yield from _known("equal_wall", table.equal_wall, table.rows)
    for place, bar in enumerate(table.bars):
        yield from _bar_faults(table, bar, f"bars.{place}")


def _row_faults(table: Table, row: Row, where: str) -> Iterator[Fault]:
    if bool(row.stages) == bool(row.step_0_of):
        yield Fault(where, ABSENT, "a row has stages, or is another's step 0", "give one of stages and step_0_of")
    if row.step_0_of:
        yield from _known(f"{where}.step_0_of", [row.step_0_of], [one for one in table.rows if table.rows[one].stages])
    yield from _known(f"{where}.trainings", row.trainings or [], table.trainings)
    if row.stages and isinstance(list(row.stages.values())[-1], Collect):
        yield Fault(f"{where}.stages", list(row.stages)[-1], "the last stage trains nothing", "end with one that does")
    for stage in row.stages:
        if stage == "train" or not stage.isidentifier():  # the file would be Hydra's own, or no name of one
            yield Fault(f"{where}.stages", stage, "this cannot be the name of a snapshot", "use another word")


def _block_faults(table: Table, block: Block, where: str) -> Iterator[Fault]:
    yield from _known(f"{where}.rows", block.rows, table.rows)
    yield from _known(f"{where}.trainings", block.trainings, table.trainings)
    yield from _known(f"{where}.against", [block.against], block.rows)
    yield from _known(f"{where}.pairs", [row for pair in block.pairs for row in pair], block.rows)
    if len(set(block.seeds)) < len(block.seeds):
        yield Fault(f"{where}.seeds", block.seeds, "one seed stands there twice", "name each once")
    for training in block.trainings if block.axis else ():
        if training in table.trainings and table.trainings[training].share is None:
            yield Fault(f"trainings.{training}.share", ABSENT, f"{where}.axis needs it", "give it a value")


def _bar_faults(table: Table, bar: Bar, where: str) -> Iterator[Fault]:
    yield from _known(f"{where}.row", [bar.row], table.rows)
    yield from _known(f"{where}.against", [bar.against] if bar.against else [], table.rows)
    yield from _known(f"{where}.training", [bar.training], table.trainings)
    yield from _known(f"{where}.metric", [bar.metric], table.metrics)
    needed = "bound" if bar.kind == "below" else "against"
    if getattr(bar, needed) is None:
        yield Fault(f"{where}.{needed}", ABSENT, f"kind={bar.kind} needs it", "give it a value")


def _known(where: str, names: list[str], known: Any) -> Iterator[Fault]:
    for name in names:
        if name not in known:
            yield Fault(where, name, "there is no such name in the table", nearest(name, known))

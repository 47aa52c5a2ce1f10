"""``metrics.csv``: one row per logged step, written while the run goes on.

Columns appear when a metric does. Numbers are written so that they read back to the bit, and a row counts only with
its line break, so that a file whose writer was killed is still a table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from llmft import durable

Row = dict[str, float]


class MetricsLog:
    """The rows of a run, in a file and in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = read(path)
        self.columns = _columns(self.rows)

    def cut(self, step: int) -> None:
        """Forget the rows past ``step``, the columns that only they had, and what a killed writer left of a line."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        self.columns = _columns(self.rows)
        self._rewrite()

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a row, or replace the one of this step; the file has it when this returns."""
        row = {"step": step, **{name: float(value) for name, value in metrics.items()}}
        again = bool(self.rows) and self.rows[-1]["step"] == step  # a step whose evaluation was owed
        self.rows[len(self.rows) - again :] = [row]
        new = [name for name in row if name not in self.columns]
        self.columns += new
        if new or again:
            self._rewrite()
        else:
            durable.append_text(self.path, self._line(row))

    def flush(self) -> None:
        """Have the disk hold every row."""
        if self.path.exists():
            durable.flush(self.path)

    def last(self, name: str) -> float | None:
        """The latest value of a metric."""
        return next((row[name] for row in reversed(self.rows) if name in row), None)

    def _line(self, row: Row) -> str:
        buffer = io.StringIO()
        # A step is a count; every other value is written as the shortest text that reads back as the same number.
        values = [repr(row[name]) if name in row else "" for name in self.columns]
        csv.writer(buffer, lineterminator="\n").writerow(values)
        return buffer.getvalue()

    def _rewrite(self) -> None:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow(self.columns)
        durable.write_text(self.path, buffer.getvalue() + "".join(self._line(row) for row in self.rows))


def read(path: Path) -> list[Row]:
    """The rows of a metrics file; a value that a row lacks is not in it. Empty if there is no file."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]  # the rest is a line that its writer did not finish
    rows = csv.DictReader(io.StringIO(whole))
    return [
        {name: int(value) if name == "step" else float(value) for name, value in row.items() if value} for row in rows
    ]


def _columns(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(["step", *(name for row in rows for name in row)]))

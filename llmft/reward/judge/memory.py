"""The marks that a judge gave, so that nothing is asked, and paid for, twice: in this run, in others, and side by side.

A SQLite file: it is locked for the moment of a write, and whole whatever happens to who writes it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

WAIT_S = 30.0  # for another process to finish its write
AT_ONCE = 500  # keys of one query
MADE = "CREATE TABLE IF NOT EXISTS marks (key TEXT PRIMARY KEY, marks TEXT NOT NULL) WITHOUT ROWID"


class Memory:
    """Marks by key, in a file that others may use at the same time; without a path, in this process alone."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.here: dict[str, Any] = {}  # all without a file; else what could not be written
        self._told = False

    def fault(self) -> str | None:
        """Why the file cannot be used."""
        try:
            with self._open():
                return None
        except (OSError, sqlite3.Error) as error:
            return str(error)

    def find(self, keys: Sequence[str]) -> dict[str, Any]:
        """What is known of ``keys``."""
        found = {key: self.here[key] for key in keys if key in self.here}
        if self.path is None or not self.path.exists():
            return found
        with self._forgiving(), self._open() as base:
            for first in range(0, len(keys), AT_ONCE):
                some = keys[first : first + AT_ONCE]
                asked = f"SELECT key, marks FROM marks WHERE key IN ({','.join('?' * len(some))})"
                found |= {key: json.loads(marks) for key, marks in base.execute(asked, some)}
        return found

    def keep(self, key: str, marks: Any) -> None:
        if self.path is None:
            self.here[key] = marks
            return
        with self._forgiving(), self._open() as base, base:
            base.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (key, json.dumps(marks)))
            return
        self.here[key] = marks

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        assert self.path is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=WAIT_S)) as base:
            base.execute(MADE)
            yield base

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """What was paid for counts, though it cannot be kept; said once."""
        try:
            yield
        except (OSError, ValueError, sqlite3.Error) as error:
            if not self._told:
                log.warning("reward.judge.cache=%s cannot be used, marks are kept in memory: %s", self.path, error)
            self._told = True

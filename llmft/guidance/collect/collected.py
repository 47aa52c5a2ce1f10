"""The file that traces are collected in: JSON lines, each written whole and never changed.

What the reward rejects goes to a second file beside it, ``NAME.rejected.jsonl``, so that the first one is a dataset as
it stands and nothing is paid for twice. A process that is killed in the middle of a line loses that line.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from llmft.config import ConfigError, Fault
from llmft.types import Message, Task

Row = dict[str, Any]
Key = tuple[str, str, int]  # question, source, sample
VERDICTS = ACCEPTED, REJECTED, CUT, FAILED = "accepted", "rejected", "cut off", "failed"  # of the reward, on an answer
NEEDED = ("key", "source", "sample", "asked", "accepted", "verdict", "prompt_tokens", "answer_tokens", "cost")


@dataclass(slots=True)
class Totals:
    """What rows come to."""

    verdicts: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cost: float = 0.0
    uncounted: int = 0  # answers whose tokens nobody told

    def add(self, row: Mapping[str, Any]) -> None:
        self.verdicts[row["verdict"]] += 1
        self.prompt_tokens += row["prompt_tokens"] or 0
        self.answer_tokens += row["answer_tokens"] or 0
        self.cost += row["cost"] or 0.0
        self.uncounted += row["answer_tokens"] is None


class Collected:
    """What was collected, and where more goes.

    Args:
        out: the file of accepted traces; a ``.jsonl``.
        keep_all: rejected ones go there too, with ``accepted`` false.

    Raises, on entering:
        ConfigError: the file is not one of these, cannot be written, or somebody else is writing it.
    """

    def __init__(self, out: Path, *, keep_all: bool) -> None:
        if out.suffix != ".jsonl":
            raise ConfigError([Fault("--out", str(out), "it is written in JSON lines", "name a .jsonl")])
        self.out, self.rejected = out, out.with_suffix(".rejected.jsonl")
        self.keep_all = keep_all
        self.totals = Totals()  # of all rows there
        self.notes: list[str] = []
        self._accepted: set[Key] = set()
        self._rejected: set[tuple[Key, str]] = set()
        self._files: dict[Path, BinaryIO] = {}

    def __enter__(self) -> Collected:
        try:
            for path in (self.out, self.rejected):
                self._open(path)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for path, file in self._files.items():
            if not os.fstat(file.fileno()).st_size:
                path.unlink(missing_ok=True)
            file.close()
        self._files = {}

    def has(self, task: Task, source: str, sample: int, asked: str) -> bool:
        """Is there an answer: an accepted one, or one that was rejected when it was asked for in the same way?"""
        key = (fingerprint(task.messages), source, sample)
        return key in self._accepted or (key, asked) in self._rejected

    def add(self, row: Row) -> None:
        """Write a row to the end of its file, where it outlives this process."""
        self._note(row)
        file = self._files[self.out if row["accepted"] or self.keep_all else self.rejected]
        file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        file.flush()

    def knows(self, source: str) -> bool:
        """Has this source ever answered?"""
        return any(key[1] == source for key in self._accepted) or any(key[1] == source for key, _ in self._rejected)

    def _note(self, row: Row) -> None:
        key = (row["key"], row["source"], row["sample"])
        self.totals.add(row)
        if row["accepted"]:
            self._accepted.add(key)
        elif row["verdict"] != FAILED:  # whoever mends the reward may ask again
            self._rejected.add((key, row["asked"]))

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = self._files[path] = path.open("a+b")
        except OSError as error:
            raise _unfit(path, str(error.strerror), "name a file that can be written") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _unfit(path, "another process is writing it", "wait for it, or name another") from None
        file.seek(0)
        for row in self._rows(file, path):
            self._note(row)

    def _rows(self, file: BinaryIO, path: Path) -> Iterator[Row]:
        """The rows of a file, which then ends with a whole line."""
        end = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                os.ftruncate(file.fileno(), end)
                self.notes.append(f"{path}: left out line {number}, of which only the beginning was written")
                return
            end += len(line)
            try:
                row = json.loads(line)
                yield {name: row[name] for name in NEEDED}
            except (ValueError, TypeError, KeyError):
                raise _unfit(path, f"its line {number} was not written by this command", "name another file") from None


def _unfit(path: Path, why: str, advice: str) -> ConfigError:
    return ConfigError([Fault("--out", str(path), why, advice)])


def fingerprint(messages: tuple[Message, ...]) -> str:
    """A question as it is told from others, its system prompt aside."""
    said = [(turn["role"], turn["content"]) for turn in messages if turn["role"] != "system"]
    return short_hash(said)


def short_hash(value: Any) -> str:
    """16 hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def question_columns(messages: tuple[Message, ...]) -> Mapping[str, Any]:
    """The prompt as a row has it: a text, or a chat where there is more than one turn."""
    turns = [turn for turn in messages if turn["role"] != "system"]
    if len(turns) == 1 and turns[0]["role"] == "user" and isinstance(turns[0]["content"], str):
        return {"prompt": turns[0]["content"]}
    return {"messages": [dict(turn) for turn in messages]}

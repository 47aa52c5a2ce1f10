"""Traces from a file of their own, for the tasks of any dataset: what ``python -m llmft.guidance.collect`` makes.

A row is ``{prompt, trace}`` or ``{messages, trace}``; ``source`` says who wrote it, and one with ``accepted`` false is
left out. It belongs to every task that asks the same question, whatever the task's id or system prompt.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmft.config import find
from llmft.dataset.files import Bad, Row, Source, read
from llmft.dataset.questions import question
from llmft.types import Splits, Task, Trace

log = logging.getLogger(__name__)


def with_traces(splits: Splits, path: str | None) -> Splits:
    """The splits, with the file's traces behind those that their tasks have; with no ``path``, as they are.

    Raises:
        ValueError: the file cannot be read, has no usable row, or none whose question a training task asks.
    """
    if path is None:
        return splits
    file = _read(path)
    traces = _traces(path, file)
    tasks = {
        name: tuple(_traced(task, traces) for task in getattr(splits, name)) for name in ("train", "heldout", "test")
    }
    fitting = sum(question(task) in traces for task in splits.train)
    if not fitting:
        raise ValueError(
            f"dataset.trace_file={path}: none of its {len(traces)} questions is one of the {len(splits.train)} training "
            "tasks; it was made for other data, so collect traces with the same overrides, or name its own file"
        )
    log.info("dataset.trace_file=%s: traces for %d of %d training tasks", path, fitting, len(splits.train))
    return Splits(**tasks, hashes={**splits.hashes, file.name: file.sha256})


def _read(path: str) -> Source:
    place = find(path)
    if not place.is_file():
        raise ValueError(
            f"dataset.trace_file={path}: there is no such file; make one with python -m llmft.guidance.collect"
        )
    try:
        (file,) = read(str(place), None)
    except ValueError as error:
        raise ValueError(str(error).replace("dataset.path", "dataset.trace_file")) from None
    bad = [row for row in file.rows if isinstance(row, Bad)]
    if bad and bad[-1] is file.rows[-1] and _is_unfinished(place):
        log.warning("dataset.trace_file=%s: left out %s, of which only the beginning was written", path, bad[-1].where)
        bad.pop()
    if bad:
        raise ValueError(
            f"dataset.trace_file={path}: {len(bad)} lines cannot be read, first {bad[0].where}: {bad[0].why}; "
            "mend or remove them"
        )
    return file


def _traces(path: str, file: Source) -> dict[str, list[Trace]]:
    """The usable traces of the file by question, each text once."""
    found: dict[str, dict[str, Trace]] = defaultdict(dict)
    refused: dict[str, int] = defaultdict(int)
    for row in file.rows:
        if not isinstance(row, Row):
            continue
        messages, text = _messages(row.values), row.values.get("trace")
        if row.values.get("accepted") is False:
            refused["not accepted"] += 1
        elif messages is None:
            refused["without a prompt"] += 1
        elif not isinstance(text, str) or not text.strip():
            refused["without a trace"] += 1
        else:
            asked = question(Task("", tuple(messages), "math"))
            found[asked].setdefault(text, Trace(text, str(row.values.get("source") or "data")))
    counted = ", ".join(f"{count} {why}" for why, count in refused.items())
    if not found:
        raise ValueError(
            f"dataset.trace_file={path}: it has no usable row ({counted}); "
            "a row needs prompt and trace, as python -m llmft.guidance.collect writes them"
        )
    if refused:
        log.info("dataset.trace_file=%s: left out %s", path, counted)
    return {asked: list(texts.values()) for asked, texts in found.items()}


def _messages(values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    prompt, turns = values.get("prompt"), values.get("messages")
    if isinstance(prompt, str) and prompt.strip():
        return [{"role": "user", "content": prompt}]
    if not isinstance(turns, list) or not turns:
        return None
    return turns if all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in turns) else None


def _traced(task: Task, traces: Mapping[str, Sequence[Trace]]) -> Task:
    there = {trace.text for trace in task.traces}
    more = [trace for trace in traces.get(question(task), ()) if trace.text not in there]
    return replace(task, traces=(*task.traces, *more)) if more else task


def _is_unfinished(file: Path) -> bool:
    """Does it end in the middle of a line?"""
    return not file.read_bytes().endswith(b"\n")

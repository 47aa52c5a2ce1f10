"""Held-out tasks: taken out of the training ones by a seed, and kept apart from them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from random import Random

from llmft.dataset.questions import question
from llmft.seeds import Seeds
from llmft.types import Task

log = logging.getLogger(__name__)


def carve(tasks: Sequence[Task], count: int, seed: int) -> tuple[list[Task], list[Task]]:
    """``count`` of the tasks by a seed, and the others, both in their order."""
    chosen = set(Random(Seeds(seed).stream("heldout")).sample(range(len(tasks)), min(count, len(tasks))))
    held = [task for index, task in enumerate(tasks) if index in chosen]
    return held, [task for index, task in enumerate(tasks) if index not in chosen]


def apart(splits: dict[str, list[Task]]) -> dict[str, list[Task]]:
    """The splits without the questions that a split before them has: test first, then held-out, then train."""
    seen: set[str] = set()
    kept: dict[str, list[Task]] = {}
    for split in ("test", "heldout", "train"):
        kept[split] = [task for task in splits[split] if question(task) not in seen]
        seen.update(question(task) for task in splits[split])
        if dropped := len(splits[split]) - len(kept[split]):
            log.warning("dataset: left %d rows out of %s; their questions are held out elsewhere", dropped, split)
    return kept


def require_distinct_ids(tasks: Sequence[Task], column: str) -> None:
    """Raises ValueError if two tasks have one id, which ``column`` holds."""
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise ValueError(
                f"dataset.id_column={column}: two rows are {task.id!r}, second at {task.meta['row']}; "
                "ids must differ, null takes split and row number"
            )
        seen.add(task.id)

"""Which task a recorded response belongs to: the dataset's, by its id or its question, or one that the line makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmft.config import ConfigError, Fault
from llmft.config.faults import ABSENT
from llmft.reward.score.records import SHOWN, Record
from llmft.types import Message, Splits, Task

Question = tuple[tuple[Any, Any], ...]


def tasks_of(records: Sequence[Record], load: Callable[[], Splits]) -> tuple[list[Task], list[str]]:
    """The task of each line, and what is to be said of them.

    The dataset is loaded where a line needs it. What a line says itself counts: its answer, not the dataset's. Raises
    ConfigError with the lines whose task is not there.
    """
    notes = list[str]()
    known = Known(())
    if any(not _stands_alone(record) for record in records):
        known = Known(_all(load()))
    elif any(record.id is not None for record in records):
        try:
            known = Known(_all(load()))
        except (ValueError, OSError) as error:
            notes.append(f"the dataset was not read, the lines say what they are judged by ({str(error).strip()})")
    tasks, faults = list[Task](), list[Fault | str]()
    strangers = other = 0
    for record in records:
        found = known.task(record)
        if found is None and not _stands_alone(record):
            faults.append(_missing(record, known))
            continue
        strangers += found is None and bool(known.by_id)
        task = found or Task(record.id or record.where, record.messages, record.kind)
        own = {**record.judged_by, **({"kind": record.kind} if record.kind else {})}
        own = {name: value for name, value in own.items() if getattr(task, name) != value}
        other += found is not None and bool(own)
        tasks.append(replace(task, **own) if own else task)
    if faults:
        more = [f"and {len(faults) - SHOWN} more tasks that are not there"] if len(faults) > SHOWN else []
        raise ConfigError([*faults[:SHOWN], *more])
    if strangers:
        notes.append(f"lines whose task the dataset does not have, judged by what they say themselves: {strangers}")
    if other:
        notes.append(f"lines that say something else than the dataset, which is what counts: {other}")
    return tasks, notes


class Known:
    """The tasks of a dataset."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.by_id: Mapping[str, Task] = {task.id: task for task in tasks}
        self.by_question: Mapping[Question, Task] = {question(task.messages): task for task in reversed(tasks)}

    def task(self, record: Record) -> Task | None:
        """By the id, unless the question is another one; else by the question."""
        found = self.by_id.get(record.id) if record.id is not None else None
        if found is not None and (not record.messages or question(record.messages) == question(found.messages)):
            return found
        return self.by_question.get(question(record.messages)) if record.messages else None


def question(messages: Sequence[Message]) -> Question:
    """A prompt as it is told from others: its turns without the system's."""
    return tuple((turn["role"], str(turn.get("content"))) for turn in messages if turn["role"] != "system")


def _stands_alone(record: Record) -> bool:
    return bool(record.messages) and bool(record.judged_by or record.kind)


def _all(splits: Splits) -> list[Task]:
    return [*splits.train, *splits.heldout, *splits.test]


def _missing(record: Record, known: Known) -> Fault:
    name = "task" if record.id is not None else "prompt"
    value = record.id if record.id is not None else (record.messages[-1].get("content") or ABSENT)
    why = f"none of the dataset's {len(known.by_id)} tasks has this id or question"
    if record.id in known.by_id:
        why = "the dataset's task of this id asks something else"
    advice = "name the dataset that it is from, dataset=..., or let the line say its answer, tests, tools or kind"
    return Fault(f"{record.where} {name}", value, why, advice)

"""What a part of a reward is, and how it is asked: in this process, or in one that it may take down."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Protocol

from llmft.reward.failed import Failed, number, reason
from llmft.reward.workers import Work
from llmft.types import Rollout

Verdict = float | str  # a part's value, or why there is none


class Part(Protocol):
    """One thing that is asked of responses. It keeps nothing from one rollout to another.

    For a rollout on which its machinery failed it raises, or has an exception (`llmft.reward.failed.Failed`) in the
    value's place. It may have these too:

    ``bounded = True``: it ends in a bounded time by itself. ``faults(tasks) -> list[str]``: why tasks cannot be scored,
    asked before anything runs. ``gold(task) -> str | None``: a response that must score full marks, in place of the
    task's first trace; ``maximum``: what full marks are (`llmft.reward.gold`). ``facts() -> Mapping``: what a run's
    manifest keeps of it. ``close()``: end its processes.
    """

    minimum: float

    def __call__(self, rollouts: Sequence[Rollout], /) -> Sequence[float | Exception]: ...


def verdicts(name: str, part: Part, rollouts: Sequence[Rollout]) -> list[Verdict]:
    """A part's value for each rollout, or why it has none.

    A part that breaks on the batch is asked about each rollout alone, so that only the culprits fail.
    """
    try:
        values = list(part(rollouts))
        if len(values) != len(rollouts):
            raise Failed(f"{len(values)} values for {len(rollouts)} rollouts")
    except Exception as error:
        if len(rollouts) == 1:
            return [f"{name}: {reason(error)}"]
        return [verdicts(name, part, [rollout])[0] for rollout in rollouts]
    return [_checked(name, value) for value in values]


def opened(parts: Mapping[str, bytes]) -> Work:
    """In a worker: the parts, each asked about one rollout."""
    made = {name: pickle.loads(part) for name, part in parts.items()}

    def work(item: tuple[str, Rollout]) -> float:
        name, rollout = item
        (verdict,) = verdicts(name, made[name], [rollout])
        if isinstance(verdict, str):
            raise Failed(verdict.removeprefix(f"{name}: "))
        return verdict

    return work


def _checked(name: str, value: object) -> Verdict:
    try:
        return number(value)
    except Exception as error:
        return f"{name}: {reason(error)}"

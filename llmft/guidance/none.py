"""No guidance: every response of a group is the policy's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmft.protocols import Drawn, Plan, Policy, State, Tasks
from llmft.seeds import Seeds
from llmft.types import Rollout, Task


class Unguided:
    """Fills each group with the policy's own responses."""

    guiding = False

    def faults(self, tasks: Sequence[Task], *, context: int) -> list[str]:
        return []

    def begin(self, *, policy: Policy, folder: Path | None) -> None:
        """Neither is needed."""

    def draw(self, tasks: Tasks, count: int, seeds: Seeds) -> list[Drawn]:
        return tasks.take(count)

    def plan(self, tasks: Sequence[Drawn], group_size: int, seeds: Seeds) -> list[Plan]:
        return [Plan(own=group_size) for _ in tasks]

    def observe(self, groups: Sequence[Sequence[Rollout]]) -> None:
        """Nothing is remembered."""

    def metrics(self) -> Mapping[str, float]:
        return {}

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing was remembered."""

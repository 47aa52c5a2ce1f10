"""No guidance: every response of a group is the policy's own."""

from __future__ import annotations

from collections.abc import Sequence

from llmft.protocols import Drawn, Plan, State
from llmft.seeds import Seeds
from llmft.types import Rollout


class Unguided:
    """Fills each group with the policy's own responses."""

    def plan(self, tasks: Sequence[Drawn], group_size: int, seeds: Seeds) -> list[Plan]:
        return [Plan(own=group_size, given=()) for _ in tasks]

    def observe(self, groups: Sequence[Sequence[Rollout]]) -> None:
        """Nothing is remembered."""

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing was remembered."""

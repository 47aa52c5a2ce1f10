"""An endless, shuffled, resumable stream of training tasks.

The order of an epoch is a function of (seed, epoch) alone, so the whole state of the stream is one number: how many
tasks it has given. Every rank walks the same stream and keeps the positions that are its own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from llmft.distributed import rank, world_size
from llmft.protocols import Drawn, State
from llmft.seeds import Seeds
from llmft.types import Task


class TaskStream:
    """`llmft.protocols.Tasks` over a list of tasks. Raises ValueError if there are none."""

    def __init__(self, tasks: Sequence[Task], seeds: Seeds) -> None:
        if not tasks:
            raise ValueError("dataset: its train split is empty, so there is nothing to draw; name another dataset")
        self.tasks = tasks
        self.seeds = seeds
        self.position = 0
        self._order: tuple[int, list[int]] = (-1, [])  # the epoch that was drawn from last, and its order

    def take(self, count: int) -> list[Drawn]:
        """The next ``count`` tasks of the run; this rank gets those whose position modulo the world size is its own."""
        start, self.position = self.position, self.position + count
        mine = range(start + (rank() - start) % world_size(), self.position, world_size())
        return [Drawn(position, self._at(position)) for position in mine]

    def state_dict(self) -> State:
        return {"position": self.position, "tasks": len(self.tasks)}

    def load_state_dict(self, state: State) -> None:
        """Go to where ``state`` was taken. Raises ValueError if that was a stream of another number of tasks."""
        if state["tasks"] != len(self.tasks):
            raise ValueError(
                f"dataset: {len(self.tasks)} training tasks, but the checkpoint was made with {state['tasks']}; "
                "resume with the data that the run began with"
            )
        self.position = int(state["position"])

    def _at(self, position: int) -> Task:
        epoch, index = divmod(position, len(self.tasks))
        if self._order[0] != epoch:
            order = list(range(len(self.tasks)))
            random.Random(self.seeds.stream("epoch", epoch)).shuffle(order)
            self._order = (epoch, order)
        return self.tasks[self._order[1][index]]

"""Traces and replay in one run: an expert's responses and the policy's own past ones, together or one after the other.

Each has its share: of the tasks with a trace those that are guided (``traces.share``), and of a step's tasks those that
are met again (``replay.share``). A task is guided by one of the two: one that is met again has its past success beside
fresh responses, as in ExGRPO (https://arxiv.org/abs/2510.02245), and each other one has its trace, as in LUFFY
(https://arxiv.org/abs/2504.14945). With ``traces_until`` and ``replay_from`` at the same step it is LUFFY first and then
ExGRPO, whose own warm-up and pool begin at that step, as those of a run that continues LUFFY's weights would: the best
row of ExGRPO's table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from llmft.config import Why
from llmft.protocols import Drawn, Guidance, Plan, Policy, State, Tasks
from llmft.seeds import Seeds
from llmft.types import Rollout, Task

NO_TRACES = Why("no step would have a trace; use 1 or more, or guidance=replay")
FROM_ONE = Why("the steps before it have no replay; use 1 or more, or null for replay from the first one on")


class Mixed:
    """Fills the groups of replayed tasks by one guidance, and all others by another.

    What was given by a trace is no success of the policy's own: replay neither sees nor stores it.

    Args:
        traces: guides the tasks of the stream, and
        traces_until: in this many steps, the first ones; None for all.
        replay: meets tasks again, and
        replay_from: leaves this many steps out, the first ones, in which it sees nothing either; None for none. Its
            own delayed start comes after them.
    """

    def __init__(
        self,
        *,
        traces: Guidance,
        traces_until: Annotated[int, Ge(1), NO_TRACES] | None,
        replay: Guidance,
        replay_from: Annotated[int, Ge(1), FROM_ONE] | None,
    ) -> None:
        self.traces, self.traces_until = traces, traces_until
        self.replay, self.replay_from = replay, replay_from
        self.steps = 0  # that were observed
        self._active: list[Guidance] = []  # in the newest of them

    @property
    def tracing(self) -> bool:
        """Do tasks of the coming step have their traces?"""
        return self.traces_until is None or self.steps < self.traces_until

    @property
    def replaying(self) -> bool:
        """May tasks be met again in the coming step?"""
        return self.replay_from is None or self.steps >= self.replay_from

    @property
    def guiding(self) -> bool:
        """May rows of either stand in the groups of the coming step?"""
        return (self.tracing and self.traces.guiding) or (self.replaying and self.replay.guiding)

    def faults(self, tasks: Sequence[Task], *, context: int) -> list[str]:
        parts = {"traces": self.traces, "replay": self.replay}
        found = [(name, text) for name, part in parts.items() for text in part.faults(tasks, context=context)]
        # They speak of their settings as if they stood alone.
        return [text.replace("guidance.", f"guidance.{name}.") for name, text in found]

    def begin(self, *, policy: Policy, folder: Path | None) -> None:
        self.traces.begin(policy=policy, folder=folder)
        self.replay.begin(policy=policy, folder=folder)

    def draw(self, tasks: Tasks, count: int, seeds: Seeds) -> list[Drawn]:
        return (self.replay if self.replaying else self.traces).draw(tasks, count, seeds)

    def plan(self, tasks: Sequence[Drawn], group_size: int, seeds: Seeds) -> list[Plan]:
        """Each task's plan by the one that guides it."""
        again = [one for one in tasks if one.position < 0]
        fresh = [one for one in tasks if one.position >= 0]
        replayed = iter(self.replay.plan(again, group_size, seeds))
        guided = iter(
            self.traces.plan(fresh, group_size, seeds) if self.tracing else [Plan(own=group_size)] * len(fresh)
        )
        return [next(replayed if one.position < 0 else guided) for one in tasks]

    def observe(self, groups: Sequence[Sequence[Rollout]]) -> None:
        """Each that was at work sees the step; replay sees it without what traces brought."""
        self._active = []
        if self.tracing:
            self.traces.observe(groups)
            self._active.append(self.traces)
        if self.replaying:
            self.replay.observe([[one for one in group if one.source != "trace"] for group in groups])
            self._active.append(self.replay)
        self.steps += 1

    def metrics(self) -> Mapping[str, float]:
        """Of those that were at work."""
        return {name: value for part in self._active for name, value in part.metrics().items()}

    def state_dict(self) -> State:
        return {"steps": self.steps, "traces": self.traces.state_dict(), "replay": self.replay.state_dict()}

    def load_state_dict(self, state: State) -> None:
        self.steps = int(state["steps"])
        self.traces.load_state_dict(state["traces"])
        self.replay.load_state_dict(state["replay"])

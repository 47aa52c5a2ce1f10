"""One reward for tasks of several kinds: each is scored by the reward of its kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, get_args

from annotated_types import Interval

from llmft.protocols import Sandbox, Tokens
from llmft.reward.detection import detect
from llmft.reward.gold import gold_faults
from llmft.reward.sound import require_sound
from llmft.reward.weighted import Weighted, together
from llmft.types import Kind, Rollout, Score, Task

SHOWN = 3  # tasks that a fault names


class Combined:
    """`llmft.protocols.Reward`: the reward of the task's kind; of a task without one, of the kind that it is read as.

    Which one scored a rollout is told by its parts: ``choice/coding`` is 1 where that one did and 0 elsewhere, so that
    its mean is a share; the reward's own parts are ``coding/tests`` and so on.

    Args:
        rewards: by kind. A kind that is not among them is refused where the data says it, and never read into a task.
        max_failure_rate: as `Weighted`'s, over all kinds; theirs are not looked at.
        validate: as `Weighted`'s; theirs are not looked at.
        sandbox: where parts run code; None where none of them does.
        judge: whom parts ask for an opinion; None where none of them does.
    """

    def __init__(
        self,
        *,
        rewards: dict[str, Weighted],
        max_failure_rate: Annotated[float, Interval(ge=0, le=1)],
        validate: bool,
        sandbox: Sandbox | None,
        judge: Any | None,
    ) -> None:
        kinds: tuple[Kind, ...] = get_args(Kind)
        for name in rewards.keys() - set(kinds):
            near = get_close_matches(name, kinds, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds)}"
            raise ValueError(f"reward.rewards.{name}: there are no tasks of this kind; {advice}")
        if not rewards:
            raise ValueError("reward.rewards: nothing would be scored; name the reward of a kind, such as chat")
        self.rewards: dict[Kind, Weighted] = {kind: rewards[kind] for kind in kinds if kind in rewards}
        self.max_failure_rate, self.validate = max_failure_rate, validate
        self.sandbox, self.judge = sandbox, judge
        self.chosen: Counter[str] = Counter()  # of the tasks that were looked at before training

    @property
    def weights(self) -> dict[str, float]:
        """Of every part, by the name under which it is logged."""
        return {
            f"{kind}/{name}": weight for kind, reward in self.rewards.items() for name, weight in reward.weights.items()
        }

    def choose(self, task: Task) -> Kind:
        """Whose reward scores this task. Raises ValueError where its kind has none."""
        if task.kind is None:
            return detect(task, tuple(self.rewards)).kind
        if task.kind not in self.rewards:
            raise ValueError(f"no reward for kind {task.kind}")
        return task.kind

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """One score for each rollout, in order; the rewards work at the same time."""
        kinds = self._kinds([rollout.task for rollout in rollouts])
        mine: dict[Kind, list[int]] = {}
        for kind in self.rewards:
            if rows := [row for row, one in enumerate(kinds) if one == kind]:
                mine[kind] = rows
        work = [partial(self.rewards[kind].score, [rollouts[row] for row in rows]) for kind, rows in mine.items()]
        scored = together(work) if work else []
        scores: dict[int, Score] = {}
        for kind, made in zip(mine, scored, strict=True):
            scores |= {row: self._named(kind, score) for row, score in zip(mine[kind], made, strict=True)}
        none = {row: Score(value=None, failure=str(kind)) for row, kind in enumerate(kinds) if row not in scores}
        return [(scores | none)[row] for row in range(len(rollouts))]

    def require_sound(self, rollouts: Sequence[Rollout]) -> None:
        """Raise RuntimeError where the machinery failed on too many of these scored rollouts and the other ranks'."""
        require_sound(rollouts, self.max_failure_rate)

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """Tasks of a kind without a reward, and what the rewards have against those that they would score."""
        kinds = self._kinds(tasks)
        found = []
        for kind in sorted({one.kind for one in tasks if one.kind is not None} - self.rewards.keys()):
            ids = [task.id for task in tasks if task.kind == kind]
            found.append(
                f"reward.rewards.{kind}: {len(ids)} tasks are of this kind, first {ids[0]!r}, and nothing scores it; "
                f"use {', '.join(self.rewards)}, or a config with {kind}@rewards.{kind} in its defaults"
            )
        told = ("detected " if task.kind is None else "" for task in tasks)
        self.chosen = Counter(f"{how}{kind}" for how, kind in zip(told, kinds, strict=True) if kind in self.rewards)
        for kind, reward in self.rewards.items():
            mine = [task for task, one in zip(tasks, kinds, strict=True) if one == kind]
            if mine:  # a sandbox that nobody needs may be missing
                found += [_moved(kind, fault) for fault in reward.faults(mine)]
        return found

    def gold_faults(self, tasks: Sequence[Task], tokens: Tokens) -> list[str]:
        """Which of these tasks' own answers do not score full marks; none where ``validate`` is not set."""
        if not self.validate:
            return []
        kinds = self._kinds(tasks)
        mine = {kind: [task for task, one in zip(tasks, kinds, strict=True) if one == kind] for kind in self.rewards}
        return [
            f"{kind}: {fault}"
            for kind, reward in self.rewards.items()
            if mine[kind]
            for fault in gold_faults(reward, mine[kind], tokens)
        ]

    def facts(self) -> dict[str, Any]:
        """What the rewards and what they use have for the manifest, and how many tasks each of them has."""
        shared = {"sandbox": self.sandbox, "judge": self.judge}
        found = {name: dict(one.facts()) for name, one in shared.items() if one is not None and hasattr(one, "facts")}
        found = {name: said for name, said in found.items() if said}
        for kind, reward in self.rewards.items():
            found |= {f"{kind}/{name}": said for name, said in reward.facts().items() if name not in shared}
        return {"choice": dict(self.chosen), **found} if self.chosen else found

    def close(self) -> None:
        """End the processes of the rewards; they start again when needed."""
        for one in (*self.rewards.values(), self.sandbox, self.judge):
            if close := getattr(one, "close", None):
                close()

    def _kinds(self, tasks: Sequence[Task]) -> list[Kind | str]:
        """Who scores each task, or why nobody does. A group's task is read once."""
        read: dict[int, Kind | str] = {}
        for task in tasks:
            if id(task) not in read:
                try:
                    read[id(task)] = self.choose(task)
                except ValueError as error:
                    read[id(task)] = str(error)
        return [read[id(task)] for task in tasks]

    def _named(self, kind: Kind, score: Score) -> Score:
        """The score with names that tell whose it is."""
        choice = {f"choice/{one}": float(one == kind) for one in self.rewards}
        return Score(
            value=score.value,
            parts={**choice, **{f"{kind}/{name}": value for name, value in score.parts.items()}},
            correct=score.correct,
            failure=score.failure and f"{kind}/{score.failure}",
        )


def _moved(kind: Kind, fault: str) -> str:
    """A reward's fault with the path that its keys have here."""
    return fault.replace("reward.", f"reward.rewards.{kind}.", 1) if fault.startswith("reward.") else fault

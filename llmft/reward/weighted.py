"""A reward is a weighted sum of named parts, each of which is logged by itself.

A bad response is data: its part gives the minimum. A part that breaks is machinery: the rollout has *failed*, has no
value, is counted by reason, and too many of them stop the run.

The parts work at the same time. One that is ``bounded`` ends by itself, whatever a response says; it gets the whole
batch, in a thread of this process. Any other may hang or take its process down, so it works in processes of its own,
one rollout at a time, each within a time limit.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from functools import partial
from itertools import islice
from typing import Annotated, Any

from annotated_types import Gt, Interval

from llmft.protocols import Sandbox, Tokens
from llmft.reward.failed import reason
from llmft.reward.gold import gold_faults
from llmft.reward.part import Part, Verdict, opened, verdicts
from llmft.reward.sound import require_sound
from llmft.reward.workers import Workers
from llmft.types import Rollout, Score, Task


class Weighted:
    """`llmft.protocols.Reward`: the sum of ``weights[name] * parts[name]``; weight 0 only logs the part.

    Args:
        parts: by name.
        weights: of each part.
        success_part: a rollout is correct where this part, or where it is None the mean of the parts by their weights,
        success_at: reaches this.
        timeout_s: seconds that a part which is not bounded may take for one rollout.
        max_failure_rate: share of the rollouts of a step, or of an evaluation, on which the machinery may fail before
            the run is stopped.
        validate: demand before training that the data's own answers score full marks.
        sandbox: where parts run code; None where none of them does.
        judge: whom parts ask for an opinion; None where none of them does.
    """

    def __init__(
        self,
        *,
        parts: dict[str, Part],
        weights: dict[str, float],
        success_part: str | None,
        success_at: float,
        timeout_s: Annotated[float, Gt(0)],
        max_failure_rate: Annotated[float, Interval(ge=0, le=1)],
        validate: bool,
        sandbox: Sandbox | None,
        judge: Any | None,
    ) -> None:
        for name in weights.keys() - parts.keys():
            raise ValueError(f"reward.weights.{name}={weights[name]}: no such part; {_known(name, parts)}")
        for name in parts.keys() - weights.keys():
            raise ValueError(f"reward.parts.{name}: it has no weight; set reward.weights.{name} (0 only logs it)")
        parts = {name: part for name, part in parts.items() if not getattr(part, "off", False)}
        weights = {name: weights[name] for name in parts}
        if success_part is not None and success_part not in parts:
            raise ValueError(f"reward.success_part={success_part}: no such part; {_known(success_part, parts)}")
        if success_part is None and sum(weights.values()) <= 0:
            raise ValueError("reward.success_part=null: the weights have no positive sum; name the part that decides")
        self.parts, self.weights = parts, weights
        self.success_part, self.success_at = success_part, success_at
        self.timeout_s, self.max_failure_rate = timeout_s, max_failure_rate
        self.validate, self.sandbox, self.judge = validate, sandbox, judge
        self.here = {name: part for name, part in parts.items() if getattr(part, "bounded", False)}
        apart = {name: _pickled(name, part) for name, part in parts.items() if name not in self.here}
        self.apart = tuple(apart)
        self.workers = Workers(partial(opened, apart), processes=None, quiet=False)

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """One score for each rollout, in order. Where a part failed it has no value and says why."""
        if not rollouts:
            return []
        work: list[Callable[[], Any]] = [partial(verdicts, name, part, rollouts) for name, part in self.here.items()]
        done = together([*work, partial(self._apart, rollouts)] if self.apart else work)
        columns = dict(zip(self.here, done, strict=False)) | (done[-1] if self.apart else {})
        return [self._score({name: columns[name][row] for name in self.parts}) for row in range(len(rollouts))]

    def require_sound(self, rollouts: Sequence[Rollout]) -> None:
        """Raise RuntimeError where the machinery failed on too many of these scored rollouts and the other ranks'."""
        require_sound(rollouts, self.max_failure_rate)

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """What the parts have against these tasks, and why those that work apart cannot."""
        asked = ((name, getattr(part, "faults", None)) for name, part in self.parts.items())
        found = [f"reward.parts.{name}: {fault}" for name, faults in asked if faults for fault in faults(tasks)]
        if self.apart and (fault := self.workers.fault()):
            found.append(f"reward.parts: in a process of its own, {fault}")
        return found

    def gold_faults(self, tasks: Sequence[Task], tokens: Tokens) -> list[str]:
        """Which of these tasks' own answers do not score full marks; none where ``validate`` is not set."""
        return gold_faults(self, tasks, tokens) if self.validate else []

    def facts(self) -> dict[str, Any]:
        """What the parts and what they use have for the manifest, by name."""
        whose = {**self.parts, "sandbox": self.sandbox, "judge": self.judge}
        asked = ((name, getattr(one, "facts", None)) for name, one in whose.items())
        return {name: dict(said) for name, facts in asked if facts and (said := facts())}

    def close(self) -> None:
        """End the processes of the parts; they start again when needed."""
        self.workers.close()
        for one in (*self.parts.values(), self.sandbox, self.judge):
            if close := getattr(one, "close", None):
                close()

    def _apart(self, rollouts: Sequence[Rollout]) -> dict[str, list[Verdict]]:
        """The columns of the parts that work in processes of their own."""
        items = [(name, rollout) for name in self.apart for rollout in rollouts]
        replies = iter(self.workers.map(items, self.timeout_s))
        return {
            name: [
                float(reply.value) if reply.state == "done" else f"{name}: {reply.value}"
                for reply in islice(replies, len(rollouts))
            ]
            for name in self.apart
        }

    def _score(self, row: Mapping[str, Verdict]) -> Score:
        values = {name: value for name, value in row.items() if not isinstance(value, str)}
        if failure := next((why for why in row.values() if isinstance(why, str)), None):
            return Score(value=None, parts=values, failure=failure)
        total = sum(self.weights[name] * value for name, value in values.items())
        if not math.isfinite(total):
            return Score(value=None, parts=values, failure=f"the weighted sum: {total} instead of a number")
        decides = total / sum(self.weights.values()) if self.success_part is None else values[self.success_part]
        return Score(value=total, parts=values, correct=decides >= self.success_at)


def together(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each of ``work`` returns, in order; they are done at the same time, the last one in this thread."""
    if len(work) < 2:
        return [one() for one in work]
    *others, mine = work
    with ThreadPoolExecutor(len(others), "reward") as threads:
        begun = [threads.submit(one) for one in others]
        last = mine()
        return [*(one.result() for one in begun), last]


def _pickled(name: str, part: Part) -> bytes:
    try:
        return pickle.dumps(part)
    except Exception as error:
        raise ValueError(
            f"reward.parts.{name}: it may hang, so it works in a process of its own, but it cannot be sent to one "
            f"({reason(error)}); define its class in a module and keep what it holds plain, or write bounded = True in "
            "it if it ends in a bounded time by itself"
        ) from None


def _known(name: str, parts: Mapping[str, Part]) -> str:
    near = get_close_matches(name, parts, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(parts)}"

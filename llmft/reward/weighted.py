"""A reward is a weighted sum of named parts, each of which sees the whole batch and is logged by itself.

A bad response is data: its part gives the minimum. A part that breaks is machinery: the rollout has *failed*, has no
value, is counted by reason, and too many of them stop the run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Protocol

from annotated_types import Interval

from llmft.types import Rollout, Score, Task

Verdict = float | str  # a part's value, or why there is none


class Part(Protocol):
    """One thing that is asked of responses.

    It may have ``faults(tasks) -> list[str]`` too: why tasks cannot be scored, asked before anything runs.
    """

    minimum: float

    def __call__(self, rollouts: Sequence[Rollout], /) -> Sequence[float]: ...


class Weighted:
    """`llmft.protocols.Reward`: the sum of ``weights[name] * parts[name]``; weight 0 only logs the part.

    A rollout is correct where ``parts[success_part]`` reaches ``success_at``. ``max_failure_rate`` is the share of a
    batch whose machinery may fail before the run is stopped.
    """

    def __init__(
        self,
        *,
        parts: dict[str, Part],
        weights: dict[str, float],
        success_part: str,
        success_at: float,
        max_failure_rate: Annotated[float, Interval(ge=0, le=1)],
    ) -> None:
        for name in weights.keys() - parts.keys():
            raise ValueError(f"reward.weights.{name}={weights[name]}: no such part; {_known(name, parts)}")
        for name in parts.keys() - weights.keys():
            raise ValueError(f"reward.parts.{name}: it has no weight; set reward.weights.{name} (0 only logs it)")
        if success_part not in parts:
            raise ValueError(f"reward.success_part={success_part}: no such part; {_known(success_part, parts)}")
        self.parts = parts
        self.weights = weights
        self.success_part = success_part
        self.success_at = success_at
        self.max_failure_rate = max_failure_rate

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """One score per rollout. Raises RuntimeError, with the reasons counted, where too many failed."""
        if not rollouts:
            return []
        columns = {name: verdicts(name, part, rollouts) for name, part in self.parts.items()}
        scores = [self._score({name: column[row] for name, column in columns.items()}) for row in range(len(rollouts))]
        self._stop_if_broken(scores)
        return scores

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """What the parts have against these tasks."""
        asked = ((name, getattr(part, "faults", None)) for name, part in self.parts.items())
        return [f"reward.parts.{name}: {fault}" for name, faults in asked if faults for fault in faults(tasks)]

    def _score(self, row: Mapping[str, Verdict]) -> Score:
        values = {name: value for name, value in row.items() if not isinstance(value, str)}
        if failure := next((why for why in row.values() if isinstance(why, str)), None):
            return Score(value=None, parts=values, failure=failure)
        total = sum(self.weights[name] * value for name, value in values.items())
        if not math.isfinite(total):
            return Score(value=None, parts=values, failure=f"the weighted sum: {total} instead of a number")
        return Score(value=total, parts=values, correct=values[self.success_part] >= self.success_at)

    def _stop_if_broken(self, scores: Sequence[Score]) -> None:
        reasons = Counter(score.failure for score in scores if score.failure)
        failed = reasons.total()
        if failed > self.max_failure_rate * len(scores):
            counted = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common(5))
            raise RuntimeError(
                f"reward.max_failure_rate={self.max_failure_rate}: the reward itself failed on {failed} of "
                f"{len(scores)} rollouts ({counted}); mend it, or raise the rate to leave them out"
            )


def verdicts(name: str, part: Part, rollouts: Sequence[Rollout]) -> list[Verdict]:
    """A part's value for each rollout, or why it has none.

    A part that breaks on the batch is asked about each rollout alone, so that only the culprits fail.
    """
    try:
        values = list(part(rollouts))
        if len(values) != len(rollouts):
            raise ValueError(f"{len(values)} values for {len(rollouts)} rollouts")
    except Exception as error:
        if len(rollouts) == 1:
            return [f"{name}: {type(error).__name__}: {error}"[:120]]
        return [verdicts(name, part, [rollout])[0] for rollout in rollouts]
    return [_checked(name, value) for value in values]


def _checked(name: str, value: object) -> Verdict:
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:
        return f"{name}: {type(value).__name__} instead of a number"
    return number if math.isfinite(number) else f"{name}: {number} instead of a number"


def _known(name: str, parts: Mapping[str, Part]) -> str:
    near = get_close_matches(name, parts, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(parts)}"

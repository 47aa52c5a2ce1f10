"""How much of a trace is given: all of it, or a beginning that the policy goes on from.

The strategies are those of LUFFY's published code, https://arxiv.org/abs/2504.14945; ``full`` is what the paper ran.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Literal

Strategy = Literal["full", "random", "linear", "linear_max", "reverse_linear", "fixed"]

STAGES = 10  # of linear_max and reverse_linear


@dataclass(frozen=True, slots=True)
class Prefix:
    """Which ratios of their traces the rows of a group are given.

    Args:
        strategy: ``full``: 1; ``random``: uniform in [``low``, ``high``]; ``fixed``: from ``low`` to ``high`` in equal
            steps over the rows (a single row has ``high``); ``linear``: from ``peak`` to 0 in ``steps`` steps, the same
            for all; ``linear_max``: uniform in [0, bound], where the bound goes from ``peak`` down to ``peak/10`` in ten
            stages of ``steps/10`` steps; ``reverse_linear``: the same with the bound going up.
        low: smallest ratio, and
        high: largest.
        steps: steps of the last three.
        peak: largest ratio of the last three.
        shared: the rows of a group have one ratio, drawn once.

    Raises:
        ValueError: if ``low`` is above ``high``.
    """

    strategy: Strategy
    low: float
    high: float
    steps: int
    peak: float
    shared: bool

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(
                f"guidance.prefix_min={self.low}: it is above guidance.prefix_max={self.high}; use at most that"
            )

    @property
    def partial(self) -> bool:
        """May a row be given less than its whole trace?"""
        return self.strategy != "full"

    def ratios(self, count: int, step: int, rng: Random) -> list[float]:
        """The ratios of the ``count`` rows of one group, in a step counted from 0."""
        if self.strategy == "fixed" and count > 1 and not self.shared:
            return [self.low + row * (self.high - self.low) / (count - 1) for row in range(count)]
        if self.shared:
            return [self._ratio(step, rng)] * count
        return [self._ratio(step, rng) for _ in range(count)]

    def _ratio(self, step: int, rng: Random) -> float:
        match self.strategy:
            case "full":
                return 1.0
            case "fixed":
                return self.high
            case "random":
                return rng.uniform(self.low, self.high)
            case "linear":
                return self.peak * (1 - min(step / self.steps, 1.0))
            case "linear_max":
                return rng.uniform(0, self.peak * (STAGES - self._stage(step)) / STAGES)
            case "reverse_linear":
                return rng.uniform(0, self.peak * (self._stage(step) + 1) / STAGES)

    def _stage(self, step: int) -> int:
        """From 0; a step between two stages belongs to the earlier, and one after the last to the last."""
        return min(max(math.ceil(STAGES * step / self.steps) - 1, 0), STAGES - 1)

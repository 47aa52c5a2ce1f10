"""Is an answer of a length that people read?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Gt, Interval

from llmft.config import Why
from llmft.reward.chat.answer import answer_of
from llmft.types import Rollout

Words = Annotated[int, Gt(0), Why("a length is a number of words; use 1 or more")]


class Window:
    """1 for an answer of ``shortest`` to ``longest`` words, falling smoothly to 0 on both sides; in [0, 1].

    Below, the value is 0 at ``shortest * (1 - edge)`` words; above, at ``longest * (1 + edge)``. Between, a cubic that is flat at its ends,
    so that one word more or less never decides. Thinking before the answer is not counted.

    How it can be farmed: any text of the right length has full marks, filler too; within the window length earns
    nothing, so that the filler has to be paid for by the other parts (repetition, a judge).
    """

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __init__(
        self,
        *,
        shortest: Words,
        longest: Words,
        edge: Annotated[float, Interval(gt=0, le=1), Why("a share of the bound; use more than 0 and at most 1")],
    ) -> None:
        if longest < shortest:
            raise ValueError(f"longest={longest}: it is less than shortest={shortest}; raise it")
        self.shortest, self.longest, self.edge = shortest, longest, edge

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [self._value(len(answer_of(rollout).split())) for rollout in rollouts]

    def _value(self, words: int) -> float:
        if words == 0:
            return 0.0
        low, high = self.shortest, self.longest
        outside = (low - words) / (low * self.edge) if words < low else (words - high) / (high * self.edge)
        return smooth(1.0 - outside)


def smooth(share: float) -> float:
    """0 below 0, 1 above 1, and ``3x² - 2x³`` between: flat at both ends."""
    x = min(max(share, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)

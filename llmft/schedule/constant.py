"""The learning rate stays, after a warm-up."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge


class Constant:
    """``min(1, (step + 1) / warmup_steps)``; 1 from the first step on when ``warmup_steps`` is 0."""

    def __init__(self, *, warmup_steps: Annotated[int, Ge(0)]) -> None:
        self.warmup_steps = warmup_steps

    def factor(self, step: int, max_steps: int) -> float:
        """What the optimizer's learning rate is multiplied by in step ``step``, counted from 0."""
        del max_steps
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0

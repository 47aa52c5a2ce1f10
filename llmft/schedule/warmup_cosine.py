"""The learning rate rises in a line, then falls along half a cosine."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Interval


class WarmupCosine:
    """From 0 to 1 in ``warmup_steps``, then to ``final_fraction`` at the run's last step.

    A resumed run with a larger ``trainer.max_steps`` follows the longer run's curve from there on.
    """

    def __init__(
        self, *, warmup_steps: Annotated[int, Ge(0)], final_fraction: Annotated[float, Interval(ge=0, le=1)]
    ) -> None:
        self.warmup_steps = warmup_steps
        self.final_fraction = final_fraction

    def factor(self, step: int, max_steps: int) -> float:
        """What the optimizer's learning rate is multiplied by in step ``step``, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        left = max(1, max_steps - 1 - self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / left)
        return self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * progress)) / 2

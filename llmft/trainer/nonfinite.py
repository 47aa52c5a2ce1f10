"""An update whose loss or gradient is not finite is never made; then the run stops, or goes on without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from llmft.config import Stop
from llmft.config.faults import NON_FINITE
from llmft.distributed import gather
from llmft.seeds import Seeds
from llmft.types import Rollout

OnNonFinite = Literal["stop", "skip"]


class NonFinite:
    """Decides, and remembers how often. Every rank sees the same values and decides the same.

    Args:
        on: ``stop`` with the first such update; ``skip`` it.
        most: updates that may be skipped in the whole run.
    """

    def __init__(self, *, on: OnNonFinite, most: int) -> None:
        self.on: OnNonFinite = on
        self.most = most
        self.skipped = 0  # in the whole run
        self.newest: dict[str, Any] = {}  # what the newest one was: enough to make it again

    def refuses(self, loss: float, norm: float, *, step: int, seeds: Seeds, rollouts: Sequence[Rollout]) -> bool:
        """Must the update of step ``step`` be left out?

        Raises:
            Stop: if it must, and the run may not go on.
        """
        if math.isfinite(loss) and math.isfinite(norm):
            return False
        ids = list(dict.fromkeys(gather([rollout.task.id for rollout in rollouts])))
        self.newest = {
            "step": step,
            "loss": str(loss),
            "grad_norm": str(norm),
            "tasks": ids,
            "seed": seeds.root,
            "stream": list(seeds.path),  # all that the step drew is a function of these two
        }
        if self.on == "skip" and self.skipped < self.most:
            self.skipped += 1
            return True
        why = f" trainer.max_nonfinite={self.most} updates were skipped before." if self.on == "skip" else ""
        raise Stop(
            NON_FINITE,
            f"step {step}: loss {loss}, gradient norm {norm}; the weights are left as they were.{why} "
            f"Tasks of the batch: {', '.join(ids) or 'not known'}. Lower optimizer.lr, or look at these tasks.",
        )

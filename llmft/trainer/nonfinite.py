"""An update whose loss or gradient is not finite is never made; then the run stops, or goes on without it.

One whose gradient is longer than a bound is left out too, wherever there is a bound: such an update is a bad batch, and
no fault, so that it needs no cap.
"""

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
        longest: gradient norm above which an update is left out, however many are; None for no bound.
    """

    def __init__(self, *, on: OnNonFinite, most: int, longest: float | None) -> None:
        self.on: OnNonFinite = on
        self.most, self.longest = most, longest
        self.skipped = 0  # for a value that is not finite, in the whole run
        self.too_long = 0  # for the length of the gradient, in this process
        self.newest: dict[str, Any] = {}  # what the newest one was: enough to make it again

    def refuses(self, loss: float, norm: float, *, step: int, seeds: Seeds, rollouts: Sequence[Rollout]) -> bool:
        """Must the update of step ``step`` be left out?

        Raises:
            Stop: if it must, and the run may not go on.
        """
        if math.isfinite(loss) and math.isfinite(norm):
            too_long = self.longest is not None and norm > self.longest
            self.too_long += too_long
            return too_long
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

    def counts(self) -> dict[str, float]:
        """The updates that were left out so far, by the metric that tells of them."""
        found = {"train/nonfinite": float(self.skipped)} if self.on == "skip" else {}
        return found if self.longest is None else {**found, "train/skipped_updates": float(self.too_long)}

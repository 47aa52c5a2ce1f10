"""When a run is said to be ill: the thresholds of `symptoms.py`, as a config gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Interval

if TYPE_CHECKING:
    from llmft.trainer.run import RunFolder

Share = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Notes on a run that shows a known failure, with the likely cause: logged once, and kept in the summary.

    A mean is over the last ``window`` steps that have the metric; where something began is the mean of the first.
    """

    window: Annotated[int, Ge(1)]
    no_signal: Share  # of groups whose rewards are all equal
    entropy_left: Share  # of where it began,
    solved: Share  # unless this share of responses is right
    length_growth: Annotated[float, Gt(1)]  # times where it began, while the share that is cut off rose by
    truncated: Share  # this; and a share of responses that is too many from the start
    cut_answers: Share  # of the data's own answers that are cut off
    constant_part: Annotated[int, Ge(2)]  # responses that a weighted part of the reward gave one and the same value
    logp_gap: Annotated[float, Gt(0)]  # nats per token
    refills_short: Share  # of steps that refilling left groups without signal in
    failed: Share  # of steps that the reward failed in
    kl: Annotated[float, Gt(0)]  # nats per token
    grad_growth: Annotated[float, Gt(1)]  # times where it began
    skipped: Share  # of steps that had an update left out for the length of its gradient
    off_policy_prob: Share  # mean probability of tokens by others, while it has grown less than
    prob_growth: Annotated[float, Gt(1)]  # this many times where it began
    trace_accuracy: Share  # of the traces that are right
    replay_idle: Annotated[int, Ge(1)]  # steps after which something should be replayed

    def open(self, run: RunFolder) -> Any:
        """The callback that looks after ``run``."""
        from llmft.trainer.checkup import CheckUp

        return CheckUp(self, run)

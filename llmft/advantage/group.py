"""The advantage of GRPO: a response is as good as it is better than the others to the same task."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

STD_FLOOR = 1e-6  # added to the deviation, as in the published implementations


def group_relative(rewards: Sequence[float], *, normalize: bool) -> list[float]:
    """Each reward minus the group's mean, divided by the group's deviation where ``normalize`` is set.

    GRPO normalises (https://arxiv.org/abs/2402.03300, section 4.1.2), Dr. GRPO does not
    (https://arxiv.org/abs/2503.20783). The deviation is the unbiased one, plus 1e-6. Rewards that are all equal give
    exact zeros, never a quotient of rounding errors: such a group carries no signal and need not be trained on.

    Args:
        rewards: of the responses to one task; rollouts whose reward failed are left out by the caller.
        normalize: whether to divide by the deviation.

    Raises:
        ValueError: for fewer than two rewards, which compare with nothing.
    """
    if len(rewards) < 2:
        raise ValueError(
            f"a group of {len(rewards)} has no advantage: there is nothing to compare with; "
            "give each task two or more scored responses, or leave its rows out"
        )
    if all(reward == rewards[0] for reward in rewards):
        return [0.0] * len(rewards)
    mean = fmean(rewards)
    scale = stdev(rewards) + STD_FLOOR if normalize else 1.0
    return [(reward - mean) / scale for reward in rewards]

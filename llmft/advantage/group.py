"""The advantage of GRPO and its kin: a response is as good as it is better than the others to the same task."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Literal

Advantage = Literal["group", "group_std", "leave_one_out"]
STD_FLOOR = 1e-6  # added to the deviation, as in the published implementations


def group_advantages(rewards: Sequence[float], kind: Advantage) -> list[float]:
    """Credit of each response to one task.

    ``group`` is Dr. GRPO's: the reward minus the group's mean (https://arxiv.org/abs/2503.20783). ``group_std`` is
    GRPO's: divided by the group's deviation, the unbiased one plus 1e-6 (https://arxiv.org/abs/2402.03300, section
    4.1.2). ``leave_one_out`` is RLOO's: the reward minus the mean of the others' (https://arxiv.org/abs/2402.14740,
    section 2.2), which is ``n/(n-1)`` times ``group``.

    Rewards that are all equal give exact zeros, never a quotient of rounding errors: such a group carries no signal
    and need not be trained on.

    Args:
        rewards: of the responses; rollouts whose reward failed are left out by the caller.
        kind: what is compared with what.

    Raises:
        ValueError: for fewer than two rewards, which compare with nothing.
    """
    count = len(rewards)
    if count < 2:
        raise ValueError(
            f"a group of {count} has no advantage: there is nothing to compare with; "
            "give each task two or more scored responses, or leave its rows out"
        )
    if all(reward == rewards[0] for reward in rewards):
        return [0.0] * count
    mean = fmean(rewards)
    scale = {"group": 1.0, "group_std": stdev(rewards) + STD_FLOOR, "leave_one_out": (count - 1) / count}[kind]
    return [(reward - mean) / scale for reward in rewards]

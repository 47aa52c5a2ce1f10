"""The advantage of GRPO and its kin: a response is as good as it is better than the others to the same task."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Literal

Advantage = Literal["group", "group_std", "leave_one_out"]
Baseline = Literal["union", "own"]
STD_FLOOR = 1e-6  # added to the deviation, as in the published implementations


def group_advantages(
    rewards: Sequence[float], kind: Advantage, *, compared: Sequence[bool] | None = None
) -> list[float]:
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
        compared: which responses the others are compared with: mean and deviation are theirs. The rest, such as an
            expert's, have an advantage over these and count for none, as in LUFFY's ``grpo_split``, where a deviation
            of 0 is taken as 1. None for all.

    Raises:
        ValueError: for fewer than two rewards to compare with. (The published implementations give a lone response
            its whole reward, over ``1 + 1e-6``, which is no comparison.)
    """
    compared = [True] * len(rewards) if compared is None else compared
    baseline = [reward for reward, counts in zip(rewards, compared, strict=True) if counts]
    count = len(baseline)
    if count < 2:
        raise ValueError(
            f"a group of {count} has no advantage: there is nothing to compare with; "
            "give each task two or more scored responses, or leave its rows out"
        )
    level = all(reward == baseline[0] for reward in baseline)
    mean = baseline[0] if level else fmean(baseline)
    scale = (1.0 if level else stdev(baseline)) + STD_FLOOR if kind == "group_std" else 1.0
    others = (count - 1) / count if kind == "leave_one_out" else scale  # of one that is in the mean itself
    return [(reward - mean) / (others if counts else scale) for reward, counts in zip(rewards, compared, strict=True)]

"""What a response pays for being long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Interval

from llmft.advantage.overlong import overlong_penalty
from llmft.config import Why
from llmft.types import Rollout

SHARE = Why("it is a share of the longest response; use 0 to 1, for instance 0.2")


class SoftOverlong:
    """DAPO's soft overlong punishment, https://arxiv.org/abs/2503.14476, equation 13, from 0 down to -1.

    ``algorithm.overlong_buffer`` takes the same off before rewards are compared, and leaves ``train/reward_mean`` as it
    is; as a part of the reward it is logged, weighted and evaluated with the others. Use one of them. A response that
    somebody else wrote pays nothing.

    Args:
        longest: tokens that a response may have, its end token included.
        buffer: the last share of them, in which the penalty grows; DAPO's is 4096 of 20480 tokens, 0.2.
    """

    minimum = -1.0
    maximum = 0.0
    bounded = True

    def __init__(
        self, *, longest: Annotated[int, Ge(1)], buffer: Annotated[float, Interval(ge=0, le=1), SHARE]
    ) -> None:
        self.longest, self.buffer = longest, buffer * longest

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [
            overlong_penalty(len(rollout.token_ids), longest=self.longest, buffer=self.buffer)
            if rollout.source == "policy"
            else 0.0
            for rollout in rollouts
        ]

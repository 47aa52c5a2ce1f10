"""From the tokens that a row was given to a completion: where it ends, and why."""

from __future__ import annotations

import math

from llmft.types import Completion, Finish


def completion(ids: list[int], logps: list[float], eos_id: int, stopped: int | None, where: str) -> Completion:
    """The completion in a row that may have been written past its end.

    Args:
        ids: the row's tokens.
        logps: of each, nats.
        eos_id: the end token; it belongs to the completion.
        stopped: after how many tokens a stop string was complete, if one was.
        where: names the row in the error.

    Raises:
        FloatingPointError: if a log-probability is not finite.
    """
    end = ids.index(eos_id) + 1 if eos_id in ids else None
    length = min(end or len(ids), stopped or len(ids))
    finish: Finish = "end" if length == end else "stop" if length == stopped else "length"
    if not all(map(math.isfinite, logps[:length])):
        raise FloatingPointError(f"the policy's logits are not finite in {where}; its weights are broken")
    return Completion(tuple(ids[:length]), tuple(logps[:length]), finish)

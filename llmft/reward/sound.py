"""How many failures of a reward's machinery are too many, and what is then said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from llmft.distributed import gather, sum_dicts
from llmft.types import Rollout

SHOWN = 5  # reasons, and rollouts
LONGEST = 60  # characters of a response that are shown


def require_sound(rollouts: Sequence[Rollout], max_failure_rate: float) -> None:
    """Raise RuntimeError where the reward failed on more than this share of the scored ``rollouts`` of all ranks.

    Every rank asks, with its own; all of them raise, or none.
    """
    counts = sum_dicts({"all": float(len(rollouts)), "failed": float(sum(one.failed for one in rollouts))})
    if counts["failed"] <= max_failure_rate * counts["all"]:
        return
    failed = gather([_failure(one) for one in rollouts if one.failed])
    reasons = ", ".join(f"{count} x {why}" for why, count in Counter(one[0] for one in failed).most_common(SHOWN))
    listed = "".join(f"\n  task {task!r}: {why}: {text!r}" for _, task, why, text in failed[:SHOWN])
    raise RuntimeError(
        f"reward.max_failure_rate={max_failure_rate}: the reward itself failed on {len(failed)} of "
        f"{counts['all']:.0f} rollouts, {len(failed) / counts['all']:.1%} ({reasons}); mend it, or raise the rate to "
        f"leave such rollouts out:{listed}" + ("\n  ..." if len(failed) > SHOWN else "")
    )


def _failure(rollout: Rollout) -> tuple[str, str, str, str]:
    """What is counted, and what is shown."""
    assert rollout.score is not None
    text = rollout.text if len(rollout.text) <= LONGEST else f"{rollout.text[: LONGEST - 20]} ... {rollout.text[-15:]}"
    return rollout.score.reason, rollout.task.id, rollout.score.failure or "unknown", text

"""What a step tells of its rollouts, the same on every rank."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch.profiler import record_function

from llmft.algorithm.groups import Group, has_signal
from llmft.distributed import gather, sum_dicts
from llmft.types import Author, Rollout

PHASE = "phase/"  # before the name of a phase in a profiler's trace


class Stopwatch:
    """Seconds by phase, ``with watch("generate"): ...``, which a profiler's trace shows too.

    Args:
        settle: waits until the device has done what it was given, so that a phase has the seconds of its own work.
    """

    def __init__(self, settle: Callable[[], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self.settle = settle

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        with record_function(PHASE + phase):
            yield
            if self.settle is not None:
                self.settle()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start

    def metrics(self) -> dict[str, float]:
        """``time/<phase>_s`` of the slowest rank, for whom the others wait."""
        everyone = gather([self.seconds])
        return {f"time/{phase}_s": max(one.get(phase, 0.0) for one in everyone) for phase in everyone[0]}


def rollout_metrics(groups: Sequence[Group], watch: Stopwatch) -> dict[str, float]:
    """Means over the responses that the policy wrote in this step, shares of groups, seconds and speed.

    Of responses that somebody else wrote, or began, it tells which are correct: ``train/accuracy/trace`` and
    ``train/accuracy/replay``. A mean of nothing is not reported: ``train/accuracy`` is missing where the reward cannot
    say what is correct.
    """
    sums = Counter({"groups": len(groups), "no_signal": sum(not has_signal(group) for group in groups)})
    for rollout in (rollout for group in groups for rollout in group):
        _count(rollout, sums)
    totals = sum_dicts({key: float(value) for key, value in sums.items()})
    metrics = {
        "train/reward_mean": ("reward", "scored"),
        "train/accuracy": ("correct", "judged"),
        "train/length_mean": ("tokens", "own"),
        "train/truncated": ("truncated", "own"),
        "train/no_signal": ("no_signal", "groups"),
        **{f"train/accuracy/{source}": (f"correct/{source}", f"judged/{source}") for source in ("trace", "replay")},
        **{key: (key, key.replace("reward/", "asked/", 1)) for key in totals if key.startswith("reward/")},
    }
    times = watch.metrics()
    return {
        **{name: totals.get(top, 0.0) / totals[below] for name, (top, below) in metrics.items() if totals.get(below)},
        **{key: value for key, value in totals.items() if key.startswith("train/failed")},
        "train/failed": totals.get("train/failed", 0.0),
        **times,
        "speed/generated_tokens": totals.get("generated", 0.0),
        "speed/tokens_per_s": totals.get("generated", 0.0) / max(times.get("time/generate_s", 0.0), 1e-9),
    }


def _count(rollout: Rollout, sums: Counter[str]) -> None:
    """Add one rollout to the sums. What others wrote is counted as failed, as correct, and nowhere else."""
    score = rollout.score
    sums.update({"generated": rollout.authors.count(Author.POLICY)})
    if score is not None and rollout.failed:
        sums.update({"train/failed": 1, f"train/failed/{score.reason}": 1})
    if rollout.source != "policy":
        if score is not None and not rollout.failed and score.correct is not None:
            sums.update({f"judged/{rollout.source}": 1, f"correct/{rollout.source}": score.correct})
        return
    sums.update({"own": 1, "tokens": len(rollout.token_ids), "truncated": rollout.finish == "length"})
    if score is None or score.value is None:
        return
    sums.update({"scored": 1, "reward": score.value})
    for name, value in score.parts.items():  # not every response need have every part
        sums.update({f"reward/{name}": value, f"asked/{name}": 1})
    if score.correct is not None:
        sums.update({"judged": 1, "correct": score.correct})

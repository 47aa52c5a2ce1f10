"""What scores come to: numbers, and nothing of how they look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

from llmft.reward.score.records import Recorded
from llmft.types import Score

SAME = 1e-9  # scores that differ by no more agree
PERCENTILES = (50, 90, 99)


class Spread(NamedTuple):
    """How values lie."""

    count: int
    mean: float
    sd: float  # of the values, n - 1
    minimum: float
    quarter: float
    median: float
    three_quarters: float
    maximum: float


def spread(values: Sequence[float]) -> Spread | None:
    """None where there are no values."""
    if not values:
        return None
    sd = stdev(values) if len(values) > 1 else 0.0
    quarter, median, three_quarters = (percentile(values, share) for share in (25, 50, 75))
    return Spread(len(values), fmean(values), sd, min(values), quarter, median, three_quarters, max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` % lie, between two neighbours in proportion."""
    ordered = sorted(values)
    below, beyond = divmod((len(ordered) - 1) * share / 100, 1)
    low, high = ordered[int(below)], ordered[min(int(below) + 1, len(ordered) - 1)]
    return low + beyond * (high - low)


def columns(scores: Sequence[Score]) -> dict[str, list[float]]:
    """The values of each part, in the order met; those of failed rollouts that have one, too."""
    found: dict[str, list[float]] = {}
    for score in scores:
        for name, value in score.parts.items():
            found.setdefault(name, []).append(value)
    return found


@dataclass(frozen=True, slots=True)
class Agreement:
    """How scores compare with those that the file has."""

    compared: int
    differing: list[int]  # places of the responses with another value, another verdict, or a failure on one side
    mean_difference: float  # of the values that both sides have, absolute
    largest_difference: float
    became: Mapping[str, int]  # verdicts that changed: {"wrong -> right": 3}


def agreement(scores: Sequence[Score], recorded: Sequence[Recorded | None]) -> Agreement | None:
    """None where the file has no scores."""
    pairs = [(place, now, was) for place, (now, was) in enumerate(zip(scores, recorded, strict=True)) if was]
    if not pairs:
        return None
    gaps = [abs(now.value - was.value) for _, now, was in pairs if now.value is not None and was.value is not None]
    became: dict[str, int] = {}
    for _, now, was in pairs:
        if (before := verdict(was)) != (after := verdict(now)):
            became[f"{before} -> {after}"] = became.get(f"{before} -> {after}", 0) + 1
    differing = [place for place, now, was in pairs if not _agree(now, was)]
    return Agreement(len(pairs), differing, fmean(gaps or [0.0]), max(gaps, default=0.0), became)


def verdict(score: Score | Recorded) -> str:
    """A score in a word."""
    if score.value is None:
        return "failed"
    return "no verdict" if score.correct is None else "right" if score.correct else "wrong"


def _agree(now: Score, was: Recorded) -> bool:
    if now.value is None or was.value is None:
        return now.value is was.value
    return abs(now.value - was.value) <= SAME and now.correct == was.correct

"""What a run has shown so far, as the symptoms of `symptoms.py` look at it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from llmft.types import Rollout

ROOMS = ("train/", "guidance/")  # of the metrics that are looked at


class Seen:
    """What the symptoms look at: of each metric its first values and its last, of each part of the reward its range.

    All of it is numbers that a checkpoint keeps, so that a continued run tells what an uninterrupted one does.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.first: dict[str, list[float]] = {}
        self.last: dict[str, list[float]] = {}
        self.steps: dict[str, int] = {}  # that had the metric
        self.parts: dict[str, list[float]] = {}  # smallest value, largest value, responses

    def add(self, row: Mapping[str, float], rollouts: Iterable[Rollout]) -> None:
        """A step's metrics, and what it trained on."""
        for name, value in row.items():
            if name.startswith(ROOMS) and math.isfinite(value):
                first, last = self.first.setdefault(name, []), self.last.setdefault(name, [])
                if len(first) < self.window:
                    first.append(float(value))
                last.append(float(value))
                del last[: -self.window]
                self.steps[name] = self.steps.get(name, 0) + 1
        for rollout in rollouts:
            if rollout.source == "policy" and rollout.score is not None and not rollout.failed:
                for name, value in rollout.score.parts.items():
                    low, high, count = self.parts.get(name, (value, value, 0))
                    self.parts[name] = [min(low, value), max(high, value), count + 1]

    def mean(self, name: str, *, least: int | None = None) -> float | None:
        """Of the last steps that had it; None if fewer than ``least``, or than the window, had it so far."""
        return self._mean(self.last.get(name, []), least)

    def began(self, name: str, *, least: int | None = None) -> float | None:
        """The same of the first steps."""
        return self._mean(self.first.get(name, []), least)

    def grown(self, name: str) -> float | None:
        """How many times its beginning a metric is."""
        first, last = self.began(name), self.mean(name)
        return last / first if first is not None and last is not None and first > 0 else None

    def share(self, name: str, *, least: int | None = None) -> float | None:
        """Of the last steps, those in which it was more than 0."""
        values = self.last.get(name, [])
        enough = len(values) >= min(least or self.window, self.window)
        return fmean(value > 0 for value in values) if enough else None

    def _mean(self, values: Sequence[float], least: int | None) -> float | None:
        return fmean(values) if len(values) >= min(least or self.window, self.window) else None

    def state_dict(self) -> dict[str, Any]:
        lists = {"first": self.first, "last": self.last, "parts": self.parts}
        return {"steps": dict(self.steps), **{name: _copied(one) for name, one in lists.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.first, self.last, self.parts = (_copied(state[name]) for name in ("first", "last", "parts"))
        self.steps = dict(state["steps"])


def _copied(lists: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {name: list(values) for name, values in lists.items()}

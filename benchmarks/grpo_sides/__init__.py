"""The same GRPO run by two libraries: our `train.py`, and TRL's GRPOTrainer. Each tells when every step ended.

Same base, tasks in the same order, group size, sampling, reward, loss, optimizer and schedule: all of it is in our config,
and TRL is given what follows from it. A side is imported when it is run, so that neither pays for the other's libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from llmft.config import compose

OURS, TRL = "llmft", "TRL"
PHASES = ("generate", "reward", "batch", "update", "sync", "rest")
AfterStep = Callable[[int, Any], bool]  # (steps done, transformers model) -> is it enough? Its time is not counted


@dataclass
class Run:
    """What one run of one side measured, an entry per step."""

    total: list[float] = field(default_factory=list)  # seconds from the end of one step to the end of the next
    phases: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PHASES})  # what they went to
    no_signal: list[float] = field(default_factory=list)  # share of groups whose rewards are all equal
    length: list[float] = field(default_factory=list)  # mean tokens of a response

    def add(self, total: float, phases: Mapping[str, float], no_signal: float, length: float) -> None:
        """One step; the ``rest`` is what is in none of the phases."""
        self.total.append(total)
        for name, seconds in {**phases, "rest": total - sum(phases.values())}.items():
            self.phases[name].append(seconds)
        self.no_signal.append(no_signal)
        self.length.append(length)

    def cut(self, first: int, end: int) -> Run:
        """The steps ``first`` to ``end``."""
        phases = {name: values[first:end] for name, values in self.phases.items()}
        return Run(self.total[first:end], phases, self.no_signal[first:end], self.length[first:end])


def config(tier: str, seed: int, overrides: Sequence[str] = ()) -> Any:
    """The config of the run that both sides make."""
    return compose(["dataset=lab_addition", f"dataset.tier={tier}", f"seed={seed}", *overrides])


def side(name: str) -> Callable[..., Run]:
    """``run(tier, seed, steps, after_step, **changed)`` of a side; ``changed`` are arguments of TRL's GRPOConfig."""
    return import_module(f"grpo_sides.{'ours' if name == OURS else 'trl'}").run


def nothing(step: int, model: Any) -> bool:
    """After a step that is to be followed by the next."""
    return False

"""Responses that were written beforehand, with rewards that are known: what a step makes of them can be worked out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from plain import token_loss

from llmft.distributed import rank, world_size
from llmft.guidance.none import Unguided
from llmft.protocols import Drawn, Plan
from llmft.seeds import Seeds
from llmft.types import Author, Rollout, Sampling, Score, Task

GRPO = {
    "tasks_per_step": 2,
    "group_size": 2,
    "mini_batches": 1,
    "epochs": 1,
    "refills": 0,
    "ratio": "token",
    "clip_low": 0.2,
    "clip_high": 0.2,
    "clip_dual": None,
    "advantage": "group_std",
    "baseline": "union",
    "average": "token",
    "length": None,
    "overlong_buffer": 0.0,
    "mask_truncated": False,
    "kl_coef": 0.0,
    "kl_in": "loss",
    "kl_estimator": "k3",
    "entropy_coef": 0.0,
    "entropy_average": None,
    "entropy_target": None,
    "entropy_lr": None,
    "reference_rows": 2,
}


def task(number: int, rewards: Sequence[float | None], lengths: Sequence[int]) -> Task:
    """A task whose j-th response has ``lengths[j]`` tokens and the j-th reward, None for a failure."""
    return Task(
        f"t{number}",
        ({"role": "user", "content": f"{number}+1="},),
        "math",
        meta={"rewards": list(rewards), "lengths": list(lengths)},
    )


class Stream:
    """Tasks in their order, shared out among the ranks."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks, self.position = tasks, 0

    def take(self, count: int) -> list[Drawn]:
        start, self.position = self.position, self.position + count
        drawn = [Drawn(position, self.tasks[position % len(self.tasks)]) for position in range(start, start + count)]
        return [one for one in drawn if one.position % world_size() == rank()]


class Written:
    """Random tokens, a function of the task alone, with log-probs near those of an untrained policy."""

    sampling = Sampling(temperature=0.7, max_new_tokens=8)

    def collect(self, tasks: Sequence[Drawn], n: Sequence[int], seeds: Seeds) -> list[list[Rollout]]:
        return [[write(drawn.task, j) for j in range(count)] for drawn, count in zip(tasks, n, strict=True)]

    def complete(self, tasks: Sequence[Drawn], begun: Sequence[Sequence[Rollout]], seeds: Seeds) -> list[list[Rollout]]:
        return [list(rows) for rows in begun]  # whole already


def write(task: Task, j: int) -> Rollout:
    number, length = int(task.id[1:]), task.meta["lengths"][j]
    draw = random.Random(f"{task.id} {j}")
    return Rollout(
        task=task,
        prompt_ids=tuple(range(10, 13 + number % 3)),
        token_ids=tuple(draw.randrange(3, 99) for _ in range(length)),
        logps=tuple(-4.85 + draw.gauss(0, 0.4) for _ in range(length)),
        authors=(Author.POLICY,) * length,
        source="policy",
        text=str(j),
        finish="end" if length < 8 else "length",
    )


class Known:
    """The reward that the task names for its j-th response."""

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [self._score(one.task.meta["rewards"][int(one.text)]) for one in rollouts]

    def require_sound(self, rollouts: Sequence[Rollout]) -> None:
        """It may fail as often as it likes."""

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        return []

    @staticmethod
    def _score(value: float | None) -> Score:
        return Score(None, failure="sandbox") if value is None else Score(value, {"right": value}, value > 0.5)


class Watching(Unguided):
    """Remembers which tasks' groups it was shown, and how large they were."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def observe(self, groups: Sequence[Sequence[Rollout]]) -> None:
        self.seen.extend((group[0].task.id, len(group)) for group in groups)


class Giving(Watching):
    """Writes the last response of each group itself: an expert's whole, its beginning, and a replay, task by task."""

    guiding = True

    def plan(self, tasks: Sequence[Drawn], group_size: int, seeds: Seeds) -> list[Plan]:
        return [self._plan(one.task, group_size - 1) for one in tasks]

    @staticmethod
    def _plan(task: Task, own: int) -> Plan:
        kind, row = int(task.id[1:]) % 3, write(task, own)
        size = len(row.token_ids)
        if kind == 2:
            return Plan(own, (replace(row, authors=(Author.REPLAY,) * size, source="replay"),))
        half = size // 2 if kind == 1 else size
        authors = (Author.TRACE,) * half + (Author.POLICY,) * (size - half)
        logps = (0.0,) * half + row.logps[half:]
        row = replace(row, authors=authors, logps=logps, source="trace")
        return Plan(own, begun=(row,)) if kind == 1 else Plan(own, (row,))


def policy_optimization(policy, guidance=None, rollouts=None, loss=None, **changes):
    from llmft.algorithm.policy import PolicyOptimization

    live = {
        "policy": policy,
        "rollouts": rollouts or Written(),
        "reward": Known(),
        "guidance": guidance or Unguided(),
        "loss": loss or token_loss(),
    }
    return PolicyOptimization(**{**GRPO, **changes}, **live)


def shake(policy):
    """Move the policy away from its reference."""
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def gradient(algorithm, policy, update, micro_batch: int | None):
    """The gradient of one update, in parts of ``micro_batch`` rows; all rows in one for None. And its metrics."""
    import torch

    policy.zero_grad()
    sums: dict[str, float] = {}
    for part in update.split(micro_batch or len(update)):
        loss, metrics = algorithm.loss(policy, part)
        loss.backward()
        for name, value in {"loss": loss.detach(), **metrics}.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in policy.parameters()]
    return torch.cat([grad.flatten() for grad in grads]), sums


@pytest.fixture
def parts():
    """This file, for tests: they cannot import one another."""
    import sys

    return sys.modules[__name__]

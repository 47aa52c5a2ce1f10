"""Groups whose right responses are known beforehand."""

from __future__ import annotations

import sys

import pytest

from llmft.types import Author, Rollout, Score, Task


def task(name: str) -> Task:
    return Task(name, ({"role": "user", "content": f"{name}="},), "math", "0")


def row(name: str, tokens, *, right=True, source="policy", prompt=(1, 5), logp=-0.5) -> Rollout:
    """A scored response; ``right`` None is one that the machinery failed on."""
    author = {"policy": Author.POLICY, "replay": Author.REPLAY, "trace": Author.TRACE}[source]
    score = Score(None, failure="sandbox") if right is None else Score(float(right), {}, bool(right))
    return Rollout(
        task(name),
        tuple(prompt),
        tuple(tokens),
        (logp,) * len(tokens),
        (author,) * len(tokens),
        source,
        "",
        "end",
        score,
    )


def group(name: str, right: int, of: int = 4, *, salt: int = 0, replayed=(), **also) -> list[Rollout]:
    """``of`` different responses to a task, the first ``right`` of which are; ``replayed`` tokens stand last, right."""
    own = of - bool(replayed)
    rows = [row(name, (10 + salt, 20 + j, 2), right=j < right - bool(replayed), **also) for j in range(own)]
    return [*rows, *([row(name, replayed, source="replay")] if replayed else [])]


def replayed(prompt, response) -> Rollout:
    return row("any", response, source="replay", prompt=prompt)


@pytest.fixture
def parts():
    """This file, for tests: they cannot import one another."""
    return sys.modules[__name__]

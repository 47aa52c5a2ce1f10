"""The config's own model as the author of traces: its samples, of which the reward keeps the good ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llmft.config import build
from llmft.protocols import Drawn, Rollouts, Tokens
from llmft.seeds import Seeds
from llmft.types import Rollout

ROWS = 256  # responses at a time: what a kill can cost


def own_rollouts(cfg: Any, source: Any, tokens: Tokens) -> Rollouts:
    """The policy of ``cfg`` with its weights, behind its sampler, on the device that it would be trained on."""
    import torch

    policy = source.load(
        quantization=build(cfg.quantization), adapter=build(cfg.adapter), seeds=Seeds(cfg.seed).child("model")
    )
    if cfg.trainer.accelerator != "cpu" and torch.cuda.is_available():
        policy.to("cuda")
    sampler = build(cfg.sampler, policy=policy, tokens=tokens)
    return build(cfg.rollout, sampler=sampler, tokens=tokens, memory=build(cfg.memory))


def samples(rollouts: Rollouts, drawn: Sequence[Drawn], count: int, seeds: Seeds) -> Iterator[list[Rollout]]:
    """``count`` responses to each task, in order; the same ones in every run with these weights and seeds."""
    at_once = max(ROWS // count, 1)
    for first in range(0, len(drawn), at_once):
        some = drawn[first : first + at_once]
        yield from rollouts.collect(some, [count] * len(some), seeds)

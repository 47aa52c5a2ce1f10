"""What is done to the responses of one task together: scoring, choosing, comparing, sharing out among updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from llmft.advantage.group import Advantage, Baseline, group_advantages
from llmft.advantage.overlong import overlong_penalty
from llmft.distributed import gather
from llmft.protocols import Drawn, Reward
from llmft.types import Rollout

Group = Sequence[Rollout]


class Sampled(NamedTuple):
    """A task and its scored responses."""

    drawn: Drawn
    group: Group


def score(groups: Sequence[Group], reward: Reward) -> list[list[Rollout]]:
    """The groups with every rollout scored, in one call of the reward; scores that are already there stay."""
    fresh = [rollout for group in groups for rollout in group if rollout.score is None]
    scored = iter([one.with_score(score) for one, score in zip(fresh, reward.score(fresh), strict=True)])
    return [[one if one.score is not None else next(scored) for one in group] for group in groups]


def has_signal(group: Group) -> bool:
    """Do the rewards of a scored group differ?"""
    return len({rollout.reward for rollout in group if not rollout.failed}) > 1


def missing(sampled: Sequence[Sampled], wanted: int) -> int:
    """How many of ``wanted`` groups have no signal yet, over all ranks."""
    return max(wanted - sum(gather([has_signal(one.group) for one in sampled])), 0)


def choose(sampled: Sequence[Sampled], wanted: int) -> list[Sampled]:
    """This rank's share of the ``wanted`` groups of a step: those with signal, then others, each kind in its order."""
    ranked = sorted(gather([(not has_signal(one.group), one.drawn.position) for one in sampled]))
    chosen = {position for _, position in ranked[:wanted]}
    return [one for one in sampled if one.drawn.position in chosen]


def overlong_penalties(group: Group, longest: int, buffer: float) -> list[float]:
    """What each response of a group pays for its length; one that somebody else wrote pays nothing."""
    return [
        overlong_penalty(len(one.token_ids), longest=longest, buffer=buffer) if one.source == "policy" else 0.0
        for one in group
    ]


def noted(group: Group, name: str, values: Sequence[float]) -> list[Rollout]:
    """The group with ``values`` among the parts of its scores, which keep their own value."""
    return [
        one.with_score(replace(one.score, parts={**one.score.parts, name: value})) if one.score else one
        for one, value in zip(group, values, strict=True)
    ]


def compare(group: Group, *, advantage: Advantage, baseline: Baseline, bonus: Sequence[float]) -> list[Rollout]:
    """The group with advantages, among the rollouts that did not fail; with fewer than two to compare, it teaches nothing.

    What is compared is each reward plus its ``bonus``; the reward that is reported stays as it is. With the baseline
    ``own`` it is compared with those of the rows that the policy wrote from their first token.
    """
    there = [rollout for rollout in group if not rollout.failed]
    compared = [baseline == "union" or rollout.source == "policy" for rollout in there]
    rewards = [rollout.reward + more for rollout, more in zip(group, bonus, strict=True) if not rollout.failed]
    enough = sum(compared) > 1
    advantages = iter(group_advantages(rewards, advantage, compared=compared) if enough else [0.0] * len(rewards))
    return [rollout.with_advantage(0.0 if rollout.failed else next(advantages)) for rollout in group]


def divide(drawn: Sequence[Drawn], groups: Sequence[Group], parts: int) -> list[list[Rollout]]:
    """The rollouts of the groups in ``parts`` mini-batches.

    A task's place in the step, counted over all ranks, decides: the number of ranks changes no mini-batch. Tasks that
    are met again are spread evenly among the others, so that each mini-batch has its share of them.
    """
    places = {position: place for place, position in enumerate(_spread(gather([one.position for one in drawn])))}
    divided: list[list[Rollout]] = [[] for _ in range(parts)]
    for one, group in zip(drawn, groups, strict=True):
        divided[places[one.position] * parts // len(places)].extend(group)
    return divided


def _spread(positions: Sequence[int]) -> list[int]:
    """Positions in order, the negative ones evenly among the others."""
    again, fresh = (sorted(one for one in positions if (one < 0) == met) for met in (True, False))
    placed = [((place + 0.5) / len(some), one) for some in (again, fresh) for place, one in enumerate(some)]
    return [one for _, one in sorted(placed)]

"""What is done to the responses of one task together: scoring, comparing, sharing out among updates."""

from __future__ import annotations

from collections.abc import Sequence

from llmft.advantage.group import group_relative
from llmft.distributed import gather
from llmft.protocols import Drawn, Reward
from llmft.types import Rollout

Group = Sequence[Rollout]


def score(groups: Sequence[Group], reward: Reward) -> list[list[Rollout]]:
    """The groups with every rollout scored, in one call of the reward; scores that are already there stay."""
    fresh = [rollout for group in groups for rollout in group if rollout.score is None]
    scored = iter([one.with_score(score) for one, score in zip(fresh, reward.score(fresh), strict=True)])
    return [[one if one.score is not None else next(scored) for one in group] for group in groups]


def compare(group: Group, *, normalize: bool) -> list[Rollout]:
    """The group with advantages, among the rollouts that did not fail; one that is left alone teaches nothing."""
    rewards = [rollout.reward for rollout in group if not rollout.failed]
    advantages = iter(group_relative(rewards, normalize=normalize) if len(rewards) > 1 else [0.0] * len(rewards))
    return [rollout.with_advantage(0.0 if rollout.failed else next(advantages)) for rollout in group]


def has_signal(group: Group) -> bool:
    """Do the rewards of a compared group differ?"""
    return any(advantage != 0 for rollout in group for advantage in rollout.advantages or ())


def divide(drawn: Sequence[Drawn], groups: Sequence[Group], parts: int) -> list[list[Rollout]]:
    """The rollouts of the groups in ``parts`` mini-batches.

    A task's place in the step, counted over all ranks, decides: the number of ranks changes no mini-batch.
    """
    places = {position: place for place, position in enumerate(sorted(gather([one.position for one in drawn])))}
    divided: list[list[Rollout]] = [[] for _ in range(parts)]
    for one, group in zip(drawn, groups, strict=True):
        divided[places[one.position] * parts // len(places)].extend(group)
    return divided

"""What a step adds to the pool: ExGRPO, section 4.1."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from llmft.guidance.identity import digest
from llmft.guidance.pool import Pool, Record
from llmft.types import Author, Rollout

Group = Sequence[Rollout]


def is_right(rollout: Rollout) -> bool:
    """Raises ValueError where the reward does not say."""
    if rollout.failed:
        return False
    if rollout.score is None or rollout.score.correct is None:
        raise ValueError(
            "guidance=replay: counts right responses, and the reward does not say which are; "
            "choose a reward that knows a solved task (reward.success_part), or another guidance"
        )
    return rollout.score.correct


def share_right(groups: Sequence[Group]) -> float:
    """Of the responses that the policy wrote in this step; 0 if there are none."""
    own = [is_right(one) for group in groups for one in group if one.source == "policy" and not one.failed]
    return sum(own) / max(len(own), 1)


def record_of(
    groups: Sequence[Group], pool: Pool, step: int, *, collects: bool, solved: range, retires: bool
) -> Record:
    """What scored groups tell, in whatever order they come.

    Of two groups of one question, the one without a replayed row has the last word on how often it is solved.

    Args:
        collects: whether questions and trajectories are collected at all.
        solved: right responses of a group with which its question is.
        retires: whether a question with nothing but right responses is noted.
    """
    outcomes, rows, marks = [], [], set()
    for group in sorted(groups, key=_order):
        task, right = group[0].task.id, [one for one in group if is_right(one)]
        if task in pool.retired:
            continue
        if len(right) == len(group) and retires:  # of which an expert's row, where there was one, is no part
            outcomes.append([task, pool.group_size, 0, []])
        elif collects and len(right) in solved:
            new = {digest(one.token_ids): one for one in right if _is_own(one)}
            new = {mark: one for mark, one in new.items() if (task, mark) not in marks and not pool.holds(task, mark)}
            marks.update((task, mark) for mark in new)
            rows += new.values()
            listed = [[mark, len(one.token_ids), one.finish] for mark, one in new.items()]
            outcomes.append([task, len(right), digest(group[0].prompt_ids), listed])
    return Record(
        step=step,
        outcomes=outcomes,
        tokens=torch.tensor([token for one in rows for token in one.token_ids], dtype=torch.int32),
        logps=torch.tensor([logp for one in rows for logp in one.logps], dtype=torch.float32),
    )


def _order(group: Group) -> tuple[str, bool, list[tuple[int, ...]]]:
    return group[0].task.id, all(one.source != "replay" for one in group), [one.token_ids for one in group]


def _is_own(rollout: Rollout) -> bool:
    """Written in this step by the policy, all of it: where tools wrote too, a replay would not know who did."""
    return rollout.source == "policy" and set(rollout.authors) == {Author.POLICY}

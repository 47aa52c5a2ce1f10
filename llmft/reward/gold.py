"""Do the data's own answers score full marks? Asked before training: a reward that refuses them teaches something else.

A gold answer is what the success part's ``gold(task)`` says, else the task's first trace. It has full marks where the
reward calls it correct and each part with a positive weight that says what its ``maximum`` is reaches it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from llmft.chat import as_response
from llmft.distributed import gather, rank, world_size
from llmft.protocols import Tokens
from llmft.types import Rollout, Score, Task, Trace

if TYPE_CHECKING:
    from llmft.reward.weighted import Weighted

log = logging.getLogger(__name__)

ROWS = 1024  # responses that are scored at once
SHOWN = 10  # tasks that are named
LONGEST = 60  # characters of an answer that are shown
UNBOUNDED = 2**31  # an answer is scored whole; what a run has room for is the run's affair


class Found(NamedTuple):
    """What is wrong with one task's answer."""

    place: int
    task: str
    why: str | None  # None: there is no answer


def gold_faults(reward: Weighted, tasks: Sequence[Task], tokens: Tokens) -> list[str]:
    """Which of these tasks have gold answers that do not score full marks, and which have none; each rank asks some."""
    began = time.monotonic()
    mine = list(enumerate(tasks))[rank() :: world_size()]
    found: list[Found] = []
    for first in range(0, len(mine), ROWS):
        found += _wrong(reward, mine[first : first + ROWS], tokens)
    found = sorted(gather(found))
    bad, none = [one for one in found if one.why], [one.task for one in found if not one.why]
    checked = len(tasks) - len(none)
    log.info(
        "reward.validate=true: %d of %d gold answers score full marks, found in %.1f s",
        *(checked - len(bad), checked, time.monotonic() - began),
    )
    told = []
    if bad:
        listed = "".join(f"\ntask {one.task!r}: {one.why}" for one in bad[:SHOWN])
        more = f"\nand {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        told.append(
            f"reward.validate=true: the data's own answers to {len(bad)} of {len(tasks)} tasks do not score full marks; "
            f"mend the reward or these tasks, or leave them out:{listed}{more}"
        )
    if none:
        told.append(
            f"reward.validate=true: {len(none)} of {len(tasks)} tasks have no answer that could be scored, first "
            f"{none[0]!r}; give them traces, or use reward.validate=false"
        )
    return told


def _wrong(reward: Weighted, some: Sequence[tuple[int, Task]], tokens: Tokens) -> list[Found]:
    texts = [gold_text(reward, task) for _, task in some]
    found = [Found(place, task.id, None) for (place, task), text in zip(some, texts, strict=True) if text is None]
    rollouts = {
        place: _response(tokens, task, text)
        for (place, task), text in zip(some, texts, strict=True)
        if text is not None
    }
    scores = reward.score(list(rollouts.values()))
    return found + [
        Found(place, rollout.task.id, _told(score, rollout.text))
        for (place, rollout), score in zip(rollouts.items(), scores, strict=True)
        if not has_full_marks(reward, score)
    ]


def gold_text(reward: Weighted, task: Task) -> str | None:
    """A response that must have full marks; None where nobody knows one."""
    gold = getattr(reward.parts.get(reward.success_part or ""), "gold", None)
    text = gold(task) if gold is not None else None
    return task.traces[0].text if text is None and task.traces else text


def has_full_marks(reward: Weighted, score: Score) -> bool:
    """Is it correct, and is no part below the best that it can give?"""
    asked = ((name, getattr(part, "maximum", None)) for name, part in reward.parts.items() if reward.weights[name] > 0)
    best = {name: most for name, most in asked if most is not None}
    return score.correct is True and all(score.parts[name] >= most - 1e-9 for name, most in best.items())


def _response(tokens: Tokens, task: Task, text: str) -> Rollout:
    return as_response(tokens, task, tokens.prompt(task.messages, task.tools), Trace(text), limit=UNBOUNDED)


def _told(score: Score, text: str) -> str:
    parts = ", ".join(f"{name} {value:.4g}" for name, value in score.parts.items())
    said = " ".join(text.split())
    said = said if len(said) <= LONGEST else f"{said[: LONGEST // 2]} ... {said[-LONGEST // 2 :]}"
    return f"{score.failure or parts}: {said!r}"

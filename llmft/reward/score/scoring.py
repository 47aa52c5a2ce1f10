"""Scoring what was recorded, with the time that it takes.

How it is measured: the first response is scored by itself, which starts what the reward needs (processes, libraries)
and is told apart; then some, drawn at random, one by one, each of which has its own latency; then the rest in batches,
whose responses per second are the speed. Each response is scored once, so no cache can flatter the numbers.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmft.protocols import Reward, Tokens
from llmft.reward.score.records import Record
from llmft.types import Author, Program, Ran, Rollout, Score, Task


@dataclass(frozen=True, slots=True)
class Timed:
    """Scores in the order of the responses, and what they took, in seconds."""

    scores: list[Score]
    start_s: float  # the first one
    latencies: list[float]  # of those that were scored alone
    alone: list[int]  # their places
    batched: int  # how many were scored in batches
    batched_s: float

    @property
    def per_second(self) -> float:
        """Responses per second: in batches, or one by one where there were too few for a batch."""
        count, seconds = (self.batched, self.batched_s) if self.batched else (len(self.latencies), sum(self.latencies))
        return count / seconds if seconds else float("nan")


def score(reward: Reward, rollouts: Sequence[Rollout], *, batch: int, alone: int, tell: Callable[[int], None]) -> Timed:
    """Score ``rollouts``: at most ``alone``, and at most half of them, one by one; ``tell`` hears how many are done."""
    scores: list[Score | None] = [None] * len(rollouts)

    def timed(places: Sequence[int]) -> float:
        began = time.perf_counter()
        for place, one in zip(places, reward.score([rollouts[place] for place in places]), strict=True):
            scores[place] = one
        seconds = time.perf_counter() - began
        tell(len(places))
        return seconds

    start_s = timed([0])
    left = range(1, len(rollouts))
    lone = sorted(random.Random(0).sample(left, min(alone, (len(left) + 1) // 2)))  # a stride could follow the groups
    latencies = [timed([place]) for place in lone]
    rest = sorted(set(left) - set(lone))
    batched_s = sum(timed(rest[first : first + batch]) for first in range(0, len(rest), batch))
    return Timed([one for one in scores if one is not None], start_s, latencies, lone, len(rest), batched_s)


def watched(reward: Any) -> Counter[str]:
    """How programs end in the reward's sandbox from now on, by status; empty where it has none."""
    counts: Counter[str] = Counter()
    sandbox = getattr(reward, "sandbox", None)
    if sandbox is not None:
        run = sandbox.run

        def counted(programs: Sequence[Program]) -> list[Ran]:
            ran = run(programs)
            counts.update(one.status for one in ran)
            return ran

        sandbox.run = counted
    return counts


class Unknown(tuple[int, ...]):
    """Tokens that nobody recorded and no tokenizer is there to make: whoever asks for them is told."""

    def _refuse(self, *_: Any) -> Any:
        raise ValueError("the response's tokens are not known; name the model: model=hf model.path=FOLDER")

    __len__ = __iter__ = __getitem__ = _refuse

    def __reduce__(self) -> Any:
        return Unknown, ()


def rollout(record: Record, place: int, task: Task, tokens: Tokens | None) -> Rollout:
    """A recorded response to its task; with the tokens that were recorded, else the tokenizer's."""
    ids = tuple(id for _, some in record.pieces for id in some)
    authors = tuple(author for author, some in record.pieces for _ in some)
    if not ids and tokens is not None:
        ids = tokens.response(record.texts[place], end=record.finish == "end")
        authors = (Author.POLICY,) * len(ids)
    return Rollout(
        task=task,
        prompt_ids=(),
        token_ids=ids or (Unknown() if tokens is None else ()),
        logps=(0.0,) * len(ids),
        authors=authors,
        source="trace" if Author.TRACE in authors else "replay" if Author.REPLAY in authors else "policy",
        text=record.texts[place],
        finish=record.finish,
    )

"""A judge's marks as a part of a reward."""

from __future__ import annotations

from collections.abc import Sequence

from llmft.reward.chat.answer import answer_of
from llmft.reward.failed import Failed
from llmft.reward.judge.judge import Judge
from llmft.types import Rollout, Task


class Judged:
    """The mean of a judge's marks, from 0 (all the lowest) to 1 (all the highest); 0 for an empty answer.

    Where the judge gave no marks that are on its rubric's scale, the rollout has failed. Where there is no judge, the
    part is ``off``: it has no value and no weight.

    How it can be farmed: by whatever the judge likes beside what it is asked for. Judges are known to like long, sure and
    flattering answers, and their own family's (https://arxiv.org/abs/2306.05685), and some obey what an answer tells
    them; read the ten best answers now and then, and keep a second judge that trains nothing.
    """

    minimum = 0.0
    bounded = True

    def __init__(self, *, judge: Judge | None) -> None:
        self.judge = judge

    @property
    def off(self) -> bool:
        return self.judge is None or self.judge.endpoint is None

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float | Failed]:
        assert self.judge is not None
        asked = [rollout for rollout in rollouts if answer_of(rollout)]
        marks = iter(self.judge.mark(asked) if asked else ())
        made = (next(marks) if answer_of(rollout) else None for rollout in rollouts)
        share = self.judge.rubric.share
        return [0.0 if one is None else one if isinstance(one, Failed) else share(one) for one in made]

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """Why the judge cannot be asked."""
        return [] if self.judge is None else self.judge.faults()

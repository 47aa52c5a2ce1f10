"""The answer, to the letter."""

from __future__ import annotations

from collections.abc import Sequence

from llmft.types import Rollout, Task


class Exact:
    """1 where a response that ended states the task's answer once, in the answer's form, as its last words; else 0.

    ``form`` is how an answer is written, with ``{answer}`` in its place: ``#{answer}``.
    """

    minimum = 0.0
    bounded = True

    def __init__(self, *, form: str) -> None:
        if form.count("{answer}") != 1 or not form.partition("{answer}")[0].strip():
            raise ValueError(
                f"form={form}: there is no telling where an answer begins; "
                "write what stands before it and {answer} in its place, e.g. '#{answer}'"
            )
        self.marker, _, self.closing = form.partition("{answer}")

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [float(self._right(rollout)) for rollout in rollouts]

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """Tasks that have no answer to compare with."""
        missing = [task.id for task in tasks if task.answer is None]
        if not missing:
            return []
        return [f"{len(missing)} tasks have no answer, first {missing[0]!r}; use data with answers or another reward"]

    def _right(self, rollout: Rollout) -> bool:
        if rollout.task.answer is None:
            raise ValueError("a task without an answer")
        _, marker, stated = rollout.text.partition(self.marker)
        return bool(marker) and rollout.finish == "end" and stated == rollout.task.answer + self.closing

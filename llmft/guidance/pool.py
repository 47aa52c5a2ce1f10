"""Questions that were solved but are not mastered, and which trajectories solved them: ExGRPO, section 4.1.

The pool is a function of the records that were folded into it, one for each step that brought something. So nothing of
it has to be saved but the records, and a run that is continued comes to the same pool, down to the order of its lists.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

from torch import Tensor

from llmft.types import Finish


class Row(NamedTuple):
    """A stored trajectory as its record lists it."""

    digest: int  # of its token ids
    length: int  # tokens
    finish: Finish


class Outcome(NamedTuple):
    """What a group of one question told."""

    task: str
    solved: int  # how many of its responses were right
    prompt: int  # digest of the prompt's token ids
    rows: Sequence[Row]  # the trajectories that were stored, none of which the pool held


class Record(TypedDict):
    """What one step added. Nothing changes in it once it is made."""

    step: int
    outcomes: Sequence[Sequence]  # as `Outcome`; a list of lists where it was read from a file
    tokens: Tensor  # [N] int32, of the outcomes' rows, one after another
    logps: Tensor  # [N] float32


def outcomes_of(outcomes: Sequence[Sequence]) -> Iterator[Outcome]:
    """With their names, also if JSON has forgotten them."""
    for task, solved, prompt, rows in outcomes:
        yield Outcome(task, solved, prompt, [Row(*row) for row in rows])


@dataclass(slots=True)
class Question:
    """A question of the pool. It always has a trajectory."""

    solved: int  # of its latest group that was collected
    prompt: int
    place: int  # in its bucket's list
    entered: int  # how many had entered before it
    numbers: dict[int, int] = field(default_factory=dict)  # of its trajectories, by digest, in the order of storing


class Pool:
    """Questions in buckets by their successes, oldest trajectories first to go.

    Args:
        group_size: responses to a question; one that is solved as often is mastered: retired, for good.
        max_trajectories: oldest ones beyond it are forgotten; None keeps all. So is what is older than
        max_age: steps; None for any age.
    """

    def __init__(self, group_size: int, max_trajectories: int | None, max_age: int | None) -> None:
        self.group_size, self.max_trajectories, self.max_age = group_size, max_trajectories, max_age
        self.questions: dict[str, Question] = {}
        self.buckets: dict[int, list[str]] = {solved: [] for solved in range(1, group_size)}
        self.retired: set[str] = set()
        self.trajectories = 0  # that are held
        self.stored = 0  # that ever were
        self.entered = 0  # questions that ever entered
        self._oldest: deque[tuple[int, str, int]] = deque()  # step, task, digest; kept for the limits alone

    def fold(self, step: int, outcomes: Sequence[Outcome]) -> None:
        """Take in what a step brought."""
        self.expire(step)
        for outcome in outcomes:
            if outcome.solved == self.group_size:
                self._retire(outcome.task)
            elif outcome.task not in self.retired:
                self._collect(step, outcome)
            self.stored += len(outcome.rows)
        if self.max_trajectories is not None:
            while self.trajectories > self.max_trajectories:
                self._forget_oldest()

    def expire(self, step: int) -> None:
        """Forget what is too old in this step."""
        while self.max_age is not None and self._oldest and self._oldest[0][0] < step - self.max_age:
            self._forget_oldest()

    def holds(self, task: str, digest: int) -> bool:
        """Is there a trajectory of these tokens for a question?"""
        return task in self.questions and digest in self.questions[task].numbers

    def in_order(self, part: slice) -> Mapping[int, list[str]]:
        """The buckets with only those questions that are in a part of all, by when they entered. Takes a look at each."""
        by_age = sorted(self.questions, key=lambda task: self.questions[task].entered)[part]
        buckets: dict[int, list[str]] = {}
        for task in by_age:
            buckets.setdefault(self.questions[task].solved, []).append(task)
        return buckets

    def _collect(self, step: int, outcome: Outcome) -> None:
        question = self.questions.get(outcome.task)
        if question is None:
            if not outcome.rows:  # others solved it
                return
            question = self.questions[outcome.task] = Question(outcome.solved, outcome.prompt, -1, self.entered)
            self.entered += 1
        else:
            self._leave_bucket(question)
        question.solved = outcome.solved
        question.place = len(self.buckets[outcome.solved])
        self.buckets[outcome.solved].append(outcome.task)
        for number, row in enumerate(outcome.rows, self.stored):
            question.numbers[row.digest] = number
            if self.max_trajectories is not None or self.max_age is not None:
                self._oldest.append((step, outcome.task, row.digest))
        self.trajectories += len(outcome.rows)

    def _retire(self, task: str) -> None:
        self.retired.add(task)
        if task in self.questions:
            self._remove(task)

    def _forget_oldest(self) -> None:
        _, task, digest = self._oldest.popleft()
        question = self.questions.get(task)
        if question is None:
            return  # it went with its question
        del question.numbers[digest]
        self.trajectories -= 1
        if not question.numbers:
            self._remove(task)

    def _remove(self, task: str) -> None:
        question = self.questions.pop(task)
        self.trajectories -= len(question.numbers)
        self._leave_bucket(question)

    def _leave_bucket(self, question: Question) -> None:
        """The last of its list takes its place: no list is walked through."""
        bucket = self.buckets[question.solved]
        last = bucket.pop()
        if question.place < len(bucket):
            bucket[question.place] = last
            self.questions[last].place = question.place

"""Answers to questions of fact: are they one of the accepted ones, how much do they overlap, and was anything searched?

`ExactMatch` and `F1` are the sound choice: https://arxiv.org/abs/1606.05250 (SQuAD), as Search-R1 uses the first,
https://arxiv.org/abs/2503.09516. `Containment`, `Searched` and `Reasoning` are the original framework's, kept to repeat
its runs; each says how a policy earns it without being right.

What a search engine returned, from ``<information>`` to ``</information>``, is never read as the policy's words.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

from annotated_types import Len

from llmft.config import Why
from llmft.types import Author, Rollout, Task

RETRIEVED = re.compile(r"<information>.*?</information>", re.DOTALL)
ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """As SQuAD's evaluation compares: small letters, no punctuation, no articles, single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(NO_PUNCTUATION)).split())


def overlap(said: str, answer: str) -> float:
    """SQuAD's F1: the harmonic mean of precision and recall of the words, each as often as it stands there."""
    one, two = normalized(said).split(), normalized(answer).split()
    common = (Counter(one) & Counter(two)).total()
    return 2 * common / (len(one) + len(two)) if common else 0.0


def accepted(task: Task) -> list[str]:
    """The task's accepted answers: its answer, or the texts of a JSON list that its answer is.

    Raises:
        ValueError: if it has none, or one that every empty response would equal.
    """
    answer, listed = task.answer or "", None
    if answer.lstrip().startswith("["):
        with suppress(json.JSONDecodeError):  # an answer that begins with a bracket
            listed = json.loads(answer)
    texts = listed if listed and all(isinstance(one, str) for one in listed) else [answer]
    if not all(normalized(one) for one in texts):
        raise ValueError("an answer has no word in it but articles; give it one, or a JSON list of texts")
    return texts


class _Stated:
    """Reads the last answer that a response states in the form."""

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __init__(self, *, form: str) -> None:
        before, found, after = form.partition("{answer}")
        if not found or (after.strip() and not before.strip()) or "{answer}" in after:
            raise ValueError(
                f"form={form}: there is no telling where an answer begins; write what stands around it and {{answer}} in "
                "its place, e.g. '<answer>{answer}</answer>'"
            )
        self.before, self.after = before.strip(), after.strip()

    def stated(self, rollout: Rollout) -> str | None:
        """What stands in the last form that is closed, or behind the last beginning where nothing closes it.

        All of the response where the form is the answer alone.
        """
        text = own_words(rollout)
        if not self.before:
            return text.strip()
        end = text.rfind(self.after) if self.after else len(text)
        start = text.rfind(self.before, 0, end) if end >= 0 else -1
        if start < 0:
            return None
        said = text[start + len(self.before) : end].strip()
        return said if self.after else said.partition("\n")[0]

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """Tasks without an answer to compare with."""
        return answer_faults(tasks)

    def gold(self, task: Task) -> str:
        return f"{self.before}{accepted(task)[0]}{self.after}"


class ExactMatch(_Stated):
    """1 where the last stated answer is, normalised, one of the accepted ones; else 0.

    Args:
        form: how an answer is stated, with ``{answer}`` in its place: ``<answer>{answer}</answer>``.
    """

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [self._right(rollout, self.stated(rollout)) for rollout in rollouts]

    def _right(self, rollout: Rollout, said: str | None) -> float:
        answers = map(normalized, accepted(rollout.task))
        return float(said is not None and normalized(said) in answers)


class F1(_Stated):
    """The overlap in words of the last stated answer with the accepted one that it is nearest to, from 0 to 1.

    Args:
        form: how an answer is stated, with ``{answer}`` in its place: ``<answer>{answer}</answer>``.
    """

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [self._overlap(rollout, self.stated(rollout)) for rollout in rollouts]

    def _overlap(self, rollout: Rollout, said: str | None) -> float:
        answers = accepted(rollout.task)
        return max(overlap(said, answer) for answer in answers) if said is not None else 0.0


class Searched:
    """1 where a search engine's words stand in the response, as its tokens' authors tell; else 0.

    Farmed by one idle search: it pays for asking, not for using what was found.
    """

    minimum = 0.0
    bounded = True

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [float(Author.TOOL in rollout.authors) for rollout in rollouts]


class Containment:
    """1 where an accepted answer stands anywhere in the response's own words, whatever the case; else 0.

    Farmed by listing every answer that might be, by repeating what was retrieved, and by short answers that stand in
    other words: "no" is in "I do not know".
    """

    minimum = 0.0
    bounded = True

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [
            float(any(answer.lower() in own_words(rollout).lower() for answer in accepted(rollout.task)))
            for rollout in rollouts
        ]

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """Tasks without an answer to look for."""
        return answer_faults(tasks)

    def gold(self, task: Task) -> str:
        return accepted(task)[0]


class Reasoning:
    """1 where one of these words stands in the response, whatever the case; else 0.

    Farmed by writing "step": it pays for a word, not for a thought.

    Args:
        words: the original framework's are ``therefore`` and ``step``.
    """

    minimum = 0.0
    bounded = True

    def __init__(
        self, *, words: Annotated[list[str], Len(1), Why("there is nothing to look for; name a word")]
    ) -> None:
        self.words = [word.lower() for word in words]

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [float(any(word in own_words(rollout).lower() for word in self.words)) for rollout in rollouts]


def own_words(rollout: Rollout) -> str:
    """The response without what was retrieved."""
    return RETRIEVED.sub("", rollout.text)


def answer_faults(tasks: Sequence[Task]) -> list[str]:
    """What makes answers of tasks impossible to compare with."""
    if missing := [task.id for task in tasks if task.answer is None]:
        return [f"{len(missing)} tasks have no answer, first {missing[0]!r}; use data with answers or another reward"]
    odd = []
    for task in tasks:
        try:
            accepted(task)
        except ValueError as error:
            odd.append((task.id, error))
    return [f"{len(odd)} tasks cannot be scored, first {odd[0][0]!r}: {odd[0][1]}"] if odd else []

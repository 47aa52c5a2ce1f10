"""Is a response of the right form, whatever its answer? Tells failures of form from failures of content."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmft.types import Rollout


class Form:
    """1 where a response ended and matches ``pattern`` as a whole; else 0.

    With ``pattern`` null, 1 where it ended and holds an answer in ``answer_form`` (``#### {answer}``). It is matched in
    the trainer's process without a time limit, so a pattern must not repeat what repeats without end: ``(\\w+ ?)*``.
    """

    minimum = 0.0
    bounded = True

    def __init__(self, *, pattern: str | None, answer_form: str) -> None:
        before, _, after = answer_form.partition("{answer}")
        anywhere = rf"(?s).*{re.escape(before.strip())}\s*\S.*{re.escape(after.strip())}.*"
        try:
            self.pattern = re.compile(anywhere if pattern is None else pattern)
        except re.error as error:
            raise ValueError(
                f"pattern={pattern}: not a regular expression ({error}); null asks for the answer's form"
            ) from None

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [float(r.finish == "end" and self.pattern.fullmatch(r.text) is not None) for r in rollouts]

"""Did a response think first, where it should, and answer then?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Len

from llmft.config import Why
from llmft.types import Rollout

NAME = re.compile(r"[A-Za-z][\w-]*")


class Thinking:
    """1 where a response that ended is ``<think>...</think>`` and then an answer, neither of them empty; else 0.

    Each of the tags stands there once and nothing before the first, as in DeepSeek-R1's format reward,
    https://arxiv.org/abs/2501.12948, section 2.2.2. It says nothing of what was thought: weigh it below the answer.

    Args:
        tag: what the thinking stands in.
        opening: ``written`` by the response, or ``given`` by a prompt that ends in it, and then not to be repeated.
        answer_tag: what the answer, which ends the response, must stand in; None for in nothing.
    """

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __init__(
        self,
        *,
        tag: Annotated[str, Len(1), Why("a tag has a name; use think")],
        opening: Literal["written", "given"],
        answer_tag: Annotated[str, Len(1), Why("a tag has a name; use answer, or null for none")] | None,
    ) -> None:
        for key, name in (("tag", tag), ("answer_tag", answer_tag)):
            if name is not None and not NAME.fullmatch(name):
                raise ValueError(f"{key}={name}: not the name of a tag; write it without brackets, e.g. think")
        self.tag, self.opening, self.answer_tag = tag, opening, answer_tag

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [float(rollout.finish != "length" and self._structured(rollout.text)) for rollout in rollouts]

    def _structured(self, text: str) -> bool:
        if self.opening == "given":
            text = f"<{self.tag}>{text}"
        before, thought, answer = _split(text, self.tag)
        if before.strip() or not thought.strip() or not answer.strip():
            return False
        if self.answer_tag is None:
            return True
        between, inside, behind = _split(answer, self.answer_tag)
        return not between.strip() and bool(inside.strip()) and not behind.strip()


def _split(text: str, tag: str) -> tuple[str, str, str]:
    """What stands before, in and behind a tag that is there once; empty where it is not."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    if text.count(opening) != 1 or text.count(closing) != 1:
        return "", "", ""
    before, _, rest = text.partition(opening)
    inside, closed, behind = rest.partition(closing)
    return (before, inside, behind) if closed else ("", "", "")

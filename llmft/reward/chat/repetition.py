"""Does an answer say the same again and again?"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Interval

from llmft.config import Why
from llmft.reward.chat.answer import answer_of
from llmft.reward.chat.length import smooth
from llmft.types import Rollout

WORD = re.compile(r"\w+|[^\w\s]")
LONGEST = 200_000  # characters that are looked at
LEAST = 200  # characters without which a compression says nothing
PLAIN, LOOPING = 3.5, 7.0  # how many times smaller zlib makes long prose, lists and code, and a loop


class Fresh:
    """1 where an answer does not repeat itself, 0 where it does little else; in [0, 1].

    The lower of two views. Of its n-grams of ``ngram`` words, the share that stood there before: full marks up to
    ``allowed``, none from ``hopeless`` on. Of its bytes, how much smaller zlib makes them (texts of 200 characters and
    more): full marks up to 3.5 times, none from 7 times on, which finds loops with a changing number in them.

    How it can be farmed: by text without meaning that never repeats, and by an answer so short that nothing can; put a
    length window beside it. What it does wrong: a table or poem with a refrain may lose a little.
    """

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __init__(
        self,
        *,
        ngram: Annotated[int, Ge(2), Why("single words repeat in any text; use 2 or more")],
        allowed: Annotated[float, Interval(ge=0, lt=1)],
        hopeless: Annotated[float, Interval(gt=0, le=1)],
    ) -> None:
        if hopeless <= allowed:
            raise ValueError(f"hopeless={hopeless}: it is not above allowed={allowed}; raise it")
        self.ngram, self.allowed, self.hopeless = ngram, allowed, hopeless

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [self._value(answer_of(rollout)[:LONGEST]) for rollout in rollouts]

    def _value(self, text: str) -> float:
        again = (self.hopeless - repeated(text, self.ngram)) / (self.hopeless - self.allowed)
        dense = (LOOPING - squeezed(text)) / (LOOPING - PLAIN)
        return smooth(min(again, dense))


def repeated(text: str, ngram: int) -> float:
    """The share of n-grams of words that stood in the text before."""
    words = WORD.findall(text.lower())
    grams = list(zip(*(words[place:] for place in range(ngram)), strict=False))
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def squeezed(text: str) -> float:
    """How many times smaller zlib makes it; 1 for a text that is too short to tell."""
    data = text.encode("utf-8", "replace")
    return len(data) / len(zlib.compress(data, 9)) if len(text) >= LEAST else 1.0

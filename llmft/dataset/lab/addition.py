"""Column addition with its working shown, and a writer that forgets to carry.

The prompt is ``478+356=``. The working goes column by column from the right, each as ``x y carry digit``, and ends in
the answer: ``8614,7513,4308#834`` (8+6 is 14: carry 1, digit 4; 7+5+1 is 13; 4+3+1 is 8). A sloppy writer forgets a
carry and goes on from what it wrote, so its working is consistent and its answer wrong. A model that imitates it is
right with a probability that is set by how often the carry was forgotten: a base with room to learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from llmft.dataset.lab.family import Family, Lab

HARD_DIGITS = 5
HARD_CARRIES = 3  # at least, in a hard sum


@dataclass(frozen=True, slots=True)
class Sum:
    """``a + b``."""

    a: int
    b: int

    def prompt(self, rng: Random) -> str:
        return f"{self.a}+{self.b}="

    @property
    def answer(self) -> str:
        return str(self.a + self.b)

    @property
    def key(self) -> str:
        return f"{min(self.a, self.b)}+{max(self.a, self.b)}"  # 478+356 and 356+478 are one question

    def carries(self) -> int:
        """How many columns carry: each takes 10 from its own digit and gives 1 to the next, so digits sum to 9 less."""
        digits = sum(map(int, f"{self.a}{self.b}"))
        return (digits - sum(map(int, self.answer))) // 9

    def write(self, slip: float, rng: Random) -> tuple[str, str]:
        """The working of a writer who forgets each carry with probability ``slip``, and the answer it comes to."""
        columns, digits, carry = [], [], 0
        for x, y in zip(reversed(str(self.a)), reversed(str(self.b)), strict=True):
            carry, digit = divmod(int(x) + int(y) + carry, 10)
            if carry and rng.random() < slip:
                carry = 0
            columns.append(f"{x}{y}{carry}{digit}")
            digits.append(str(digit))
        return ",".join(columns), ("1" if carry else "") + "".join(reversed(digits))


def draw(digits: int, rng: Random) -> Iterator[Sum]:
    """Sums of two numbers of so many digits; those of 5 carry often, or they would not be hard."""
    low = 10 ** (digits - 1)
    while True:
        drawn = Sum(low + int(rng.random() * 9 * low), low + int(rng.random() * 9 * low))
        if digits < HARD_DIGITS or drawn.carries() >= HARD_CARRIES:
            yield drawn


FAMILY = Family("addition", draw, easy=(3,), hard=(HARD_DIGITS,), base=(2, 3))  # short sums teach the working sooner


class Addition(Lab):
    """``easy`` adds 3 digits, ``hard`` 5 with at least 3 carries, ``mixed`` half and half.

    ``base`` is what a base is trained on: 70 % sums of 2 or 3 digits, 30 % hard ones.
    """

    family = FAMILY

"""Walks over open roads, and a writer that takes closed ones.

The prompt lists the roads of a map in no order, ``ab`` an open one from a to b and, with a capital, ``aC`` a closed one
from a to c, then asks: ``bd,aC,ab,...:a3=``, where is one after three open roads from a? The working is the roads taken,
and ends in where they end: ``ab,bd,de#e``. Every place has one open and one closed road. A sloppy writer takes a closed
road and goes on from there: ``ab,bC,ca#a`` is a consistent walk to the wrong place. The skill is to look up; the habit
to unlearn is which road is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

from llmft.dataset.lab.family import Family, Lab

PLACES = {2: 5, 3: 5, 5: 8}  # places on the map, by the number of roads to walk
NAMES = "abcdefgh"
RENAMINGS = 32


@dataclass(frozen=True, slots=True)
class Walk:
    """Where does one stand after ``steps`` open roads from place 0? Places are numbers with ``names``."""

    names: str
    steps: int
    open: tuple[int, ...]  # where the open road of each place leads
    closed: tuple[int, ...]

    @property
    def key(self) -> str:
        """The map with its places in the order of their names; the order of the roads makes no other question."""
        places = sorted(range(len(self.names)), key=self.names.__getitem__)
        roads = "".join([self.names[self.open[at]] + self.names[self.closed[at]] for at in places])
        return f"{roads}:{self.names[0]}{self.steps}"

    @property
    def answer(self) -> str:
        return self.names[self.end("0" * self.steps)]

    def prompt(self, rng: Random) -> str:
        roads = [self.names[at] + self.names[to] for at, to in enumerate(self.open)]
        roads += [self.names[at] + self.names[to].upper() for at, to in enumerate(self.closed)]
        rng.shuffle(roads)
        return f"{','.join(roads)}:{self.names[0]}{self.steps}="

    def end(self, slips: str) -> int:
        """Where one stands after roads of which those marked 1 were closed ones."""
        at = 0
        for slip in slips:
            at = self.closed[at] if slip == "1" else self.open[at]
        return at

    def lucky(self) -> bool:
        """Does a walk of one slip, of one open road, or of none end in the right place after all?

        Those are all wrong walks of 2 and 3 steps. Of the 31 of 5 steps 20 are left, which end right by a chance of 1
        in 8; to reject them too would leave 1 map of 20, and few writers take two or three closed roads of five.
        """
        right = self.end("0" * self.steps)
        return any(self.end(slips) == right for slips in SLIPS[self.steps])

    def write(self, slip: float, rng: Random) -> tuple[str, str]:
        """The walk of a writer who takes each closed road with probability ``slip``, and the place it comes to."""
        at, walk = 0, []
        for _ in range(self.steps):
            start = self.names[at]
            if rng.random() < slip:
                at = self.closed[at]
                walk.append(start + self.names[at].upper())
            else:
                at = self.open[at]
                walk.append(start + self.names[at])
        return ",".join(walk), self.names[at]


def slips(steps: int) -> tuple[str, ...]:
    """The wrong walks of one slip, of one open road and of none: 1 is a slip."""
    marks = ["".join(mark) for mark in product("01", repeat=steps)]
    return tuple(mark for mark in marks if mark.count("1") in {1, steps - 1, steps})


SLIPS = {steps: slips(steps) for steps in PLACES}


def draw(steps: int, rng: Random) -> Iterator[Walk]:
    """Maps on which no luck helps and the right walk comes nowhere twice, each under some names in turn."""
    count = PLACES[steps]
    names = list(NAMES[:count])
    while True:
        walk = Walk(NAMES, steps, *roads(steps, count, rng))
        if walk.lucky():
            continue
        for _ in range(RENAMINGS):  # cheaper than another map where the question belongs to another split
            rng.shuffle(names)
            yield Walk("".join(names), steps, walk.open, walk.closed)


def roads(steps: int, count: int, rng: Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where the open and the closed road of each place lead; the open ones from 0 lead to 1, 2, ... ``steps``."""
    open_to = [at + 1 if at < steps else elsewhere(at, -1, count, rng) for at in range(count)]
    closed_to = [elsewhere(at, open_to[at], count, rng) for at in range(count)]
    return tuple(open_to), tuple(closed_to)


def elsewhere(place: int, other: int, count: int, rng: Random) -> int:
    """A place that is neither of the two."""
    while (to := int(rng.random() * count)) in (place, other):
        pass
    return to


FAMILY = Family("paths", draw, easy=(2, 3), hard=(5,), base=(2, 3))


class Paths(Lab):
    """``easy`` walks 2 or 3 roads between 5 places, ``hard`` 5 between 8, ``mixed`` half and half.

    ``base`` is what a base is trained on: 70 % easy walks, 30 % hard ones.
    """

    family = FAMILY

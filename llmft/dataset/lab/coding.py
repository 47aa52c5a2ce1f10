"""Small functions over lists of integers, and a writer that forgets, swaps and mistakes operations.

The prompt names operations, ``f(a): double, reverse, tail``; the answer is a program that does them in this order:

    def f(a):
      a=[x*2 for x in a]
      a=a[::-1]
      return a[1:]

in a fenced block. There are no constants to vary: another question is another function. What a question is, and with
it the split that it belongs to, is what its function does to some lists, so that two descriptions of one function,
``double, reverse`` and ``reverse, double``, are never in two splits. A task's tests are calls on lists of the split
that it belongs to, chosen so that each single slip fails one: nothing that is held out is ever run in training,
neither the function nor the list that it is called with. A sloppy writer forgets an operation, swaps it with the next
one or writes one like it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import ne
from random import Random
from typing import Any

from llmft.dataset.lab.family import Family, Lab, split_of
from llmft.types import Check

RIGHT = {  # what an operation is called, and how it is written
    "abs": "[abs(x) for x in a]",
    "alternate": "a[::2]",
    "count": "a+[len(a)]",
    "distinct": "list(dict.fromkeys(a))",
    "double": "[x*2 for x in a]",
    "evens": "[x for x in a if x%2==0]",
    "gaps": "[y-x for x,y in zip(a,a[1:])]",
    "halve": "[x//2 for x in a]",
    "init": "a[:-1]",
    "mirror": "a+a[::-1]",
    "negate": "[-x for x in a]",
    "next": "[x+1 for x in a]",
    "odds": "[x for x in a if x%2]",
    "positives": "[x for x in a if x>0]",
    "reverse": "a[::-1]",
    "rotate": "a[1:]+a[:1]",
    "sort": "sorted(a)",
    "square": "[x*x for x in a]",
    "tail": "a[1:]",
    "total": "a+[sum(a)]",
    "twice": "a+a",
}
LIKE = {  # what a sloppy writer takes it for
    "abs": "[-x for x in a]",
    "alternate": "a[1::2]",
    "count": "[len(a)]",
    "distinct": "sorted(set(a))",
    "double": "[x+2 for x in a]",
    "evens": "[x for x in a if x%2]",
    "gaps": "[x-y for x,y in zip(a,a[1:])]",
    "halve": "[x%2 for x in a]",
    "init": "a[:1]",
    "mirror": "a+a",
    "negate": "[abs(x) for x in a]",
    "next": "[x-1 for x in a]",
    "odds": "[x for x in a if x%2==0]",
    "positives": "[x for x in a if x>=0]",
    "reverse": "sorted(a)",
    "rotate": "a[1:]",
    "sort": "a[::-1]",
    "square": "[x*2 for x in a]",
    "tail": "a[:-1]",
    "total": "[sum(a)]",
    "twice": "a*3",
}
NAMES = tuple(RIGHT)
RUN = {code: eval(f"lambda a: {code}") for code in (*RIGHT.values(), *LIKE.values())}  # what is run is what is written
TESTS = 5  # calls per task
LENGTHS = (4, 6)  # of the lists that functions are called with
LARGEST = 9  # and their numbers are from -9 to 9
SHOWS = 3  # of the 16 lists that show what a function does, those on which a slip makes a difference, at least

Code = tuple[str, ...]  # the expressions of a program, in order


@dataclass(frozen=True, slots=True)
class Function:
    """Operations that are to be done in this order, by their names."""

    names: tuple[str, ...]

    @property
    def code(self) -> Code:
        return tuple(RIGHT[name] for name in self.names)

    @property
    def key(self) -> str:
        """What the function does, however it is described."""
        return digest(self.code)

    @property
    def answer(self) -> str:
        return program(self.code)

    def prompt(self, rng: Random) -> str:
        return f"f(a): {', '.join(self.names)}\n"

    def write(self, slip: float, rng: Random) -> tuple[str, str]:
        """No working, and the program of a writer who slips at each operation with probability ``slip``."""
        code, left = list[str](), list(self.names)
        while left:
            name = left.pop(0)
            if rng.random() >= slip:
                code.append(RIGHT[name])
                continue
            kind = rng.choice(("forget", "swap", "mistake") if left else ("forget", "mistake"))
            if kind == "mistake":
                code.append(LIKE[name])
            elif kind == "swap":
                code += [RIGHT[left.pop(0)], RIGHT[name]]
        same = behaviour(tuple(code)) == behaviour(self.code)  # two operations may as well come in the other order
        return "", self.answer if same else program(tuple(code))

    def slips(self) -> list[Code]:
        """The programs of all writers who slip once, without those that do what they should after all."""
        right, written = self.code, list[Code]()
        for at, name in enumerate(self.names):
            before, after = right[:at], right[at + 1 :]
            written += [before + after, (*before, LIKE[name], *after)]
            if after:
                written.append((*before, after[0], right[at], *after[1:]))
        return [code for code in written if behaviour(code) != behaviour(right)]

    def brings(self) -> Mapping[str, Any]:
        """What the task's reward needs."""
        calls = tests(self)
        return {"kind": "coding", "tests": tuple(Check("call", f"f({a})", done(self.code, a)) for a in calls)}


def program(code: Code) -> str:
    lines = [f"  a={line}\n" for line in code[:-1]]
    return f"```python\ndef f(a):\n{''.join(lines)}  return {code[-1] if code else 'a'}\n```"


def done(code: Code, a: list[int]) -> list[int]:
    """What a program makes of a list."""
    for line in code:
        a = RUN[line](a)
    return a


@lru_cache(maxsize=4096)
def behaviour(code: Code) -> tuple[list[int], ...]:
    """What a program makes of `PROBES`, by what it makes of them without its last line. Not to be changed."""
    return tuple(map(RUN[code[-1]], behaviour(code[:-1]))) if code else PROBES


@lru_cache(maxsize=16_384)
def digest(code: Code) -> str:
    return hashlib.blake2b(repr(behaviour(code)).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=16_384)
def sound(function: Function) -> bool:
    """Does every operation matter, is what is made of different lists different, and does each slip show?"""
    right = function.code
    does = behaviour(right)
    if len(set(map(tuple, does))) <= len(does) / 2:
        return False
    if any(behaviour(right[:at] + right[at + 1 :]) == does for at in range(len(right))):
        return False
    return all(sum(map(ne, behaviour(code), does)) >= SHOWS for code in function.slips())


def numbers(rng: Random) -> list[int]:
    """A list to call a function with."""
    return [rng.randint(-LARGEST, LARGEST) for _ in range(rng.randint(*LENGTHS))]


def some(count: int, rng: Random) -> tuple[list[int], ...]:
    return tuple(numbers(rng) for _ in range(count))


PROBES = some(16, Random(0))


def tests(function: Function) -> list[list[int]]:
    """Lists of the function's own split, on which every single slip is found out."""
    rng, split = Random(function.key), split_of(function.key)
    chosen, hidden = list[list[int]](), function.slips()  # those that none of the lists finds out
    while len(chosen) < TESTS or hidden:
        drawn = numbers(rng)
        if split_of(str(drawn)) != split or drawn in chosen:
            continue
        still = [code for code in hidden if done(code, drawn) == done(function.code, drawn)]
        if len(still) < len(hidden) or not hidden:
            chosen.append(drawn)
            hidden = still
    return chosen


def draw(count: int, rng: Random) -> Iterator[Function]:
    """Functions of so many operations, each of which makes a difference."""
    while True:
        function = Function(tuple(rng.choice(NAMES) for _ in range(count)))
        if sound(function):
            yield function


FAMILY = Family("coding", draw, easy=(3,), hard=(5,), base=(2, 3), brings=Function.brings)


class Coding(Lab):
    """``easy`` functions do 3 operations, ``hard`` ones 5, ``mixed`` half and half.

    ``base`` is what a base is trained on: 70 % functions of 2 or 3 operations, 30 % hard ones.
    """

    family = FAMILY

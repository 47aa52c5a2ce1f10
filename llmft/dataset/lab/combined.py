"""Functions to write and tools to call, in one dataset, each task of the kind that it says.

The questions, their splits, their experts and their sloppy writers are those of `coding` and of `function_calling`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Literal

from llmft.dataset.lab import coding, function_calling
from llmft.dataset.lab.family import Family, Lab, Problem

Size = tuple[Family, int]  # a problem of this family, of this size of its own

FAMILIES = (coding.FAMILY, function_calling.FAMILY)


def sizes(tier: Literal["easy", "hard", "base"]) -> tuple[Size, ...]:
    return tuple((family, size) for family in FAMILIES for size in getattr(family, tier))


def draw(size: Size, rng: Random) -> Iterator[Problem]:
    family, of_family = size
    return family.draw(of_family, rng)


def brings(problem: coding.Function | function_calling.Request) -> Mapping[str, Any]:
    return problem.brings()


FAMILY = Family("combined", draw, easy=sizes("easy"), hard=sizes("hard"), base=sizes("base"), brings=brings)


class Combined(Lab):
    """The tiers are those of the two families, half of the tasks from each.

    ``base`` is what a base is trained on: 70 % easy tasks, two functions for each request, and 30 % hard ones.
    """

    family = FAMILY

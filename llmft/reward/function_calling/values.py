"""A call's arguments against the values that a task accepts, as the checker of the Berkeley leaderboard compares them
(https://github.com/ShishirPatil/gorilla, ast_checker.py).

An answer gives a list of accepted values for each argument; ``""`` among them lets it be left out. Of two texts, case,
spaces and the signs ``, . / - _ * ^`` do not matter, and either quote is the other: nobody is to be marked down for
"April 1,2024" in place of "April 1 2024". A text of nothing but such signs equals itself alone. Numbers are compared as
numbers: 5.0 is 5, but true is not 1 and "5" is not 5. Lists are equal place by place. An accepted object gives a list
of accepted values for each of its keys, at any depth (there at one).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

SIGNS = re.compile(r"[ ,./\-_*^]")

Accepted = Mapping[str, Sequence[Any]]  # values by argument


def share_right(arguments: Mapping[str, Any], accepted: Accepted) -> float:
    """The share of arguments with an accepted value, among those written and those that must be: 1 if all are right."""
    asked = arguments.keys() | {name for name, values in accepted.items() if "" not in values}
    right = sum(name in accepted and any(fits(said, one) for one in accepted[name]) for name, said in arguments.items())
    return right / len(asked) if asked else 1.0


def fits(said: Any, accepted: Any) -> bool:
    """Is what was said the accepted value?"""
    if isinstance(accepted, dict):
        return isinstance(said, dict) and _complete(said, accepted)
    if isinstance(accepted, list):
        return isinstance(said, list) and len(said) == len(accepted) and all(map(fits, said, accepted))
    if isinstance(accepted, str):
        return isinstance(said, str) and standardised(said) == standardised(accepted)
    if isinstance(said, bool) or isinstance(accepted, bool) or accepted is None:
        return said is accepted
    return isinstance(said, int | float) and said == accepted


def standardised(text: str) -> str:
    """The text without what does not matter."""
    return SIGNS.sub("", text).lower().replace("'", '"') or text


def first(accepted: Any) -> Any:
    """A value that is accepted, written out: of objects within, the first accepted value of each key."""
    if isinstance(accepted, dict):
        return {key: first(values[0]) for key, values in accepted.items() if values[0] != ""}
    return [first(one) for one in accepted] if isinstance(accepted, list) else accepted


def _complete(said: Mapping[str, Any], accepted: Accepted) -> bool:
    """Does every key have an accepted value, and is none missing that must be there?"""
    missing = [key for key, values in accepted.items() if key not in said and "" not in values]
    return not missing and all(
        key in accepted and any(fits(value, one) for one in accepted[key]) for key, value in said.items()
    )

"""A part that has no value for a rollout, and why. Not a bad response: that has a value, the part's minimum."""

from __future__ import annotations

import math

LONGEST = 120  # characters of a reason


class Failed(Exception):
    """The machinery failed on a rollout, for a reason of a few words that can be counted.

    A part raises it, or has it in the place of that rollout's value.
    """


def number(value: object) -> float:
    """``value`` as a finite number. Raises Failed where it is none, and what a part has in a value's place."""
    if isinstance(value, Exception):
        raise value
    try:
        found = float(value)  # type: ignore[arg-type]
    except Exception:
        raise Failed(f"{type(value).__name__} instead of a number") from None
    if not math.isfinite(found):
        raise Failed(f"{found} instead of a number")
    return found


def reason(error: BaseException) -> str:
    """Why, in a line: the kind of error first, for that is what is counted."""
    said = " ".join(str(error).split())
    if isinstance(error, Failed):
        return said[:LONGEST]
    return f"{type(error).__name__}: {said}"[:LONGEST].rstrip(": ")

"""What a refused config says: every fault at once, each ``path=value: why it cannot be; what to do``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

FINISHED, FAILED, REFUSED, NON_FINITE, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143  # exit codes of a run

ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "ABSENT"})()  # the value of a fault that has none


@dataclass(frozen=True, slots=True)
class Why:
    """Beside a constraint in an annotation: what a user is told when it does not hold, ``why; what to do``.

    Example:
        ``group_size: Annotated[int, Ge(2), Why("a group of one has no advantage; use 2 or more")]``
    """

    text: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a config.

    Example:
        >>> str(Fault("algorithm.group_size", 1, "a group of one has no advantage", "use 2 or more"))
        'algorithm.group_size=1: a group of one has no advantage; use 2 or more'
    """

    path: str
    value: Any
    why: str
    advice: str = ""

    def __str__(self) -> str:
        what = self.path if self.value is ABSENT else f"{self.path}={shown(self.value)}"
        return f"{what}: {self.why}; {self.advice}" if self.advice else f"{what}: {self.why}"


class ConfigError(ValueError):
    """A config that is refused, with all its faults."""

    def __init__(self, faults: Sequence[Fault | str]) -> None:
        self.faults = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''} in the config:"
        return "\n".join([count, *("  " + str(fault).strip().replace("\n", "\n    ") for fault in self.faults)])


class Stop(Exception):
    """A run that ends before its time, on purpose: `launch` prints ``message`` and exits with ``code``."""

    def __init__(self, code: int, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(code, message)

    def __str__(self) -> str:
        return self.message


def shown(value: Any) -> str:
    """A value as one would write it on the command line, cut to a readable length."""
    if isinstance(value, str):
        text = value if value.strip() == value != "" else repr(value)
    else:
        text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(name: str, names: Iterable[str]) -> str:
    """Advice that names what ``name`` was probably meant to be, else what there is."""
    names = sorted(set(names))
    close = get_close_matches(name, names, n=1, cutoff=0.6) or [n for n in names if n.lower() == name.lower()]
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return "remove it"
    listed = ", ".join(names) if len(names) <= 24 else ", ".join([*names[:24], "..."])
    return f"there are: {listed}"

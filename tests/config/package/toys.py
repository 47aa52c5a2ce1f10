"""Configured classes for the tests of the configuration; importable under LLMFT_TARGETS=toys. alone."""

from __future__ import annotations

from dataclasses import dataclass
from os import system  # noqa: F401  an import that a config must not reach through this module
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from llmft.config import Why


class Plain:
    """Takes nothing."""

    def __init__(self) -> None: ...


class Many:
    """One argument of each kind."""

    def __init__(
        self,
        *,
        size: Annotated[int, Ge(2), Why("one is none; use 2 or more")],
        rate: Annotated[float, Gt(0)],
        mode: Literal["first", "all"],
        limit: Annotated[int, Ge(1)] | None,
        names: tuple[str, ...],
        file: Path,
        both: int | str,
    ) -> None:
        self.size, self.rate, self.mode, self.limit = size, rate, mode, limit
        self.names, self.file, self.both = names, file, both


class Loose:
    def __init__(self, *, size: int, **others: Any) -> None:
        self.size, self.others = size, others


class Searching:
    """Cannot do without a memory."""

    def __init__(self, *, top_k: int, memory: Any, tokens: Any) -> None:
        self.top_k, self.memory, self.tokens = top_k, memory, tokens


class Remembering:
    """Can do without a memory."""

    def __init__(self, *, memory: Plain | None) -> None:
        self.memory = memory


class Sum:
    """Has parts of its own."""

    def __init__(self, *, parts: dict[str, Any], weights: dict[str, float]) -> None:
        self.parts, self.weights = parts, weights


class Term:
    def __init__(self, *, scale: float) -> None:
        self.scale = scale


@dataclass(kw_only=True)
class Point:
    x: float
    y: float


class Library:
    """As libraries write theirs: with defaults."""

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        self.params, self.lr = params, lr


def function(*, x: int) -> int:
    return x


class _Hidden:
    def __init__(self) -> None: ...


class Sharing:
    """Has a part that the parts beside it use."""

    def __init__(self, *, parts: dict[str, Any], term: Term | None) -> None:
        self.parts, self.term = parts, term


class Using:
    def __init__(self, *, scale: float, term: Term | None) -> None:
        self.scale, self.term = scale, term

"""What a program looks like, whatever it does: the syntax tree is read, nothing is run.

The scale is the original framework's, 0.3 for what parses (-0.3 for what does not), 0.1 each for a docstring,
annotations and a length, -0.5 where there is no program. Its own check looked for quotes and arrows in the text.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Interval

from llmft.reward.coding.extract import Unfenced, program
from llmft.types import Rollout

NAME = "<response>"  # a program's file name, in warnings
LONGEST = 100_000  # characters that are parsed; that takes less than 0.3 s and 100 MB
Share = Annotated[float, Interval(ge=-1, le=1)]


class Form:
    """The sum of what a program's form is worth, between -1 and 1.

    Args:
        syntax: for a program that parses; as much is lost by one that does not.
        docstring: for one where a module, class or function has one.
        annotations: for one with a function whose parameters and result are all annotated.
        length: for one of more than ``shorter`` and less than ``longer`` characters.
        no_program: of a response without one.
        unfenced: what a response without any fence is: ``whole``, a program, or ``none``.
        after: judge only what follows this (``</think>``); null judges all of the text.
    """

    bounded = True

    def __init__(
        self,
        *,
        syntax: Share,
        docstring: Share,
        annotations: Share,
        length: Share,
        no_program: Share,
        shorter: Annotated[int, Ge(0)],
        longer: Annotated[int, Ge(0)],
        unfenced: Unfenced,
        after: str | None,
    ) -> None:
        self.syntax, self.docstring, self.annotations, self.length = syntax, docstring, annotations, length
        self.no_program = no_program
        self.shorter, self.longer = shorter, longer
        self.unfenced: Unfenced = unfenced
        self.after = after
        self.minimum = min(no_program, -abs(syntax))
        warnings.filterwarnings("ignore", module=NAME)  # "\d" in a response is no news of ours

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [self._value(program(one.text, unfenced=self.unfenced, after=self.after)) for one in rollouts]

    def _value(self, source: str | None) -> float:
        if source is None:
            return self.no_program
        tree = parsed(source)
        value = self.length if self.shorter < len(source) < self.longer else 0.0
        if tree is None:
            return _clipped(value - self.syntax)
        value += self.docstring if has_docstring(tree) else 0.0
        value += self.annotations if is_annotated(tree) else 0.0
        return _clipped(value + self.syntax)


def parsed(source: str) -> ast.Module | None:
    """The syntax tree, or None for what is no Python or too long or deep to be read as such."""
    if len(source) > LONGEST:
        return None
    try:
        return ast.parse(source, NAME)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # wrong; null bytes; nested too deeply, both ways
        return None


def has_docstring(tree: ast.Module) -> bool:
    """Does a module, class or function begin with a text that is not blank?"""
    return any(
        (ast.get_docstring(node) or "").strip()
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    )


def is_annotated(tree: ast.Module) -> bool:
    """Is there a function with an annotation of its result and of each parameter, but for ``self`` and ``cls``?"""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(one.returns is not None and all(arg.annotation for arg in _parameters(one)) for one in functions)


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    args = function.args
    several = [*args.posonlyargs, *args.args, *args.kwonlyargs, *(one for one in (args.vararg, args.kwarg) if one)]
    return [one for at, one in enumerate(several) if at or one.arg not in ("self", "cls")]


def _clipped(value: float) -> float:
    return round(max(-1.0, min(1.0, value)), 9)  # 0.3 + 0.1 + 0.1 + 0.1 is 0.6

"""Assertions taken apart: the call goes to the program's process, the expected value stays in ours.

``assert f(1) == 2`` is lifted to the call ``f(1)`` and the value ``2``, and so is what stands in the ``check(candidate)``
of HumanEval (https://github.com/openai/human-eval). A text of which any part cannot be lifted is run as it is, in a
process of its own. What a call's text tells the program is its input: ``assert f(1)`` and ``assert not f(1)`` both ask
for ``not f(1)``.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard


class Lifted(NamedTuple):
    """One assertion: the call's value must be equal to ``expected``, or, if ``exact``, be it: None, True, False."""

    call: str
    expected: Any
    exact: bool = False


class _Stays(Exception):
    """A text cannot be lifted."""


@lru_cache(maxsize=1 << 14)
def lift(text: str) -> tuple[Lifted, ...] | None:
    """The assertions of a text, in order; None where it is more than assertions of this kind."""
    try:
        return tuple(_lifted(ast.parse(text).body)) or None
    except (_Stays, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _lifted(body: Sequence[ast.stmt]) -> Iterator[Lifted]:
    own = {name for statement in body for name in _bound(statement)}  # which a call in the program's process lacks
    checks = {one.name: one for one in body if isinstance(one, ast.FunctionDef)}
    called = []
    for statement in body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            name, entry = _check_call(statement.value, own)
            called.append(name)
            yield from _inside(checks.get(name), own, entry)
        elif isinstance(statement, ast.Assert):
            yield from _assertion(statement.test, own)
        elif not isinstance(statement, ast.FunctionDef) and not _is_idle(statement):
            raise _Stays
    if sorted(called) != sorted(checks):
        raise _Stays


def _inside(check: ast.FunctionDef | None, own: set[str], entry: str) -> Iterator[Lifted]:
    """The assertions of ``def check(candidate)``, about ``entry``."""
    if check is None or ast.unparse(check.args) != check.args.args[0].arg or check.decorator_list:
        raise _Stays
    candidate = check.args.args[0].arg
    for statement in check.body:
        if isinstance(statement, ast.Assert):
            renamed = _Renamed(candidate, entry).visit(statement.test)
            yield from _assertion(renamed, own)
        elif not _is_idle(statement) or _bound(statement):
            raise _Stays


class _Renamed(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id == self.new and self.old != self.new:  # what it means in there is another matter
            raise _Stays
        return ast.Name(self.new, node.ctx) if node.id == self.old else node


def _check_call(call: ast.Call, own: set[str]) -> tuple[str, str]:
    """``check`` and ``f`` of ``check(f)``."""
    if not isinstance(call.func, ast.Name) or len(call.args) != 1 or call.keywords:
        raise _Stays
    (entry,) = call.args
    if not isinstance(entry, ast.Name) or entry.id in own:
        raise _Stays
    return call.func.id, entry.id


def _is_idle(statement: ast.stmt) -> bool:
    """Does it do nothing that an assertion could see? An import, a constant of the text's own, a comment."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign):
        return _is_literal(statement.value) and all(isinstance(target, ast.Name) for target in statement.targets)
    return isinstance(statement, ast.Pass | ast.Import)


def _bound(statement: ast.stmt) -> set[str]:
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    if isinstance(statement, ast.Import):
        names |= {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    return names | ({statement.name} if isinstance(statement, ast.FunctionDef) else set())


def _assertion(test: ast.expr, own: set[str]) -> Iterator[Lifted]:
    if isinstance(test, ast.Constant) and test.value:
        return
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield Lifted(f"not {_call(test.operand, own)}", True, exact=True)
    elif not isinstance(test, ast.Compare):
        yield Lifted(f"not {_call(test, own)}", False, exact=True)
    else:
        yield _comparison(test, own)


def _comparison(test: ast.Compare, own: set[str]) -> Lifted:
    if len(test.ops) != 1:
        raise _Stays
    left, (right,), (sign,) = test.left, test.comparators, test.ops
    if isinstance(sign, ast.Is) and isinstance(right, ast.Constant) and _is_single(right.value):
        return Lifted(_call(left, own), right.value, exact=True)
    if not isinstance(sign, ast.Eq):
        raise _Stays
    if _is_literal(left):
        left, right = right, left
    if not _is_literal(right):
        raise _Stays
    return Lifted(_call(left, own), ast.literal_eval(right))


def _call(node: ast.expr, own: set[str]) -> str:
    """The text of a call of the program's, which has no expected value among its arguments."""
    if not isinstance(node, ast.Call) or not _is_pure_call(node, own):
        raise _Stays
    return ast.unparse(node)


def _is_pure_call(node: ast.expr, own: set[str]) -> bool:
    """A call of a free name with literals, or such calls, as arguments: ``f(1, g(2))``, ``Solver().f(x=1)``."""
    if not isinstance(node, ast.Call):
        return False
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    calls = [one for one in given if not _is_literal(one.value if isinstance(one, ast.Starred) else one)]
    if not all(_is_pure_call(one, own) for one in calls):
        return False
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return _is_pure_call(owner, own) or (_is_free(owner, own) and owner.id not in sys.stdlib_module_names)
    if not _is_free(node.func, own):
        return False
    return not calls or not hasattr(builtins, node.func.id)  # what Python's sorted(f(1)) is, a program could decide


def _is_single(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _is_free(node: ast.expr, own: set[str]) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and node.id not in own


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True

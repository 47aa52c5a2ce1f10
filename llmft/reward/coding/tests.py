"""Does a program do what its task asks? It runs in a sandbox, and what it gave is judged here."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from llmft.protocols import Sandbox
from llmft.reward.coding.equal import as_asserted, same_output, strictly
from llmft.reward.coding.extract import Unfenced, program
from llmft.reward.coding.lifting import Lifted, lift
from llmft.reward.failed import Failed
from llmft.types import Check, Program, Ran, Returned, Rollout, Task

Accepts = Callable[[Any], bool]
SHOWN = 20  # faults that are told one by one


class Trial(NamedTuple):
    """One run of a program, and what each thing that comes back must be."""

    program: Program
    accepts: tuple[Accepts, ...]


class Tests:
    """The share of a task's tests that the last program of a response passes.

    A test is an assertion, where a text of assertions can be taken apart; else the text; a call with its value; an
    input with its output. A program that hangs, crashes, is stopped or writes without end passes none.

    Args:
        score: ``share`` of the tests passed, or 1 for ``all`` of them and else 0.
        unfenced: what a response without any fence is: ``whole``, a program, or ``none``.
        after: judge only what follows this (``</think>``); null judges all of the text.
        sandbox: where programs run.
    """

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __init__(
        self, *, score: Literal["share", "all"], unfenced: Unfenced, after: str | None, sandbox: Sandbox
    ) -> None:
        self.score = score
        self.unfenced: Unfenced = unfenced
        self.after = after
        self.sandbox = sandbox

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float | Failed]:
        """Equal programs with equal tests run once."""
        trials = [self._trials(rollout) for rollout in rollouts]
        wanted = list(dict.fromkeys(trial.program for several in trials for trial in several))
        ran = dict(zip(wanted, self.sandbox.run(wanted), strict=True)) if wanted else {}
        return [
            self._value(several, [ran[trial.program] for trial in several])
            if rollout.task.tests
            else Failed("no tests")
            for rollout, several in zip(rollouts, trials, strict=True)
        ]

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """Why these tasks, or this machine, cannot be used."""
        return [*self.sandbox.faults(), *_untested(tasks), *_wrong(tasks)]

    def _trials(self, rollout: Rollout) -> list[Trial]:
        source = program(rollout.text, unfenced=self.unfenced, after=self.after)
        return [] if source is None else list(trials(source, rollout.task.tests))

    def _value(self, several: Sequence[Trial], ran: Sequence[Ran]) -> float | Failed:
        for one in ran:
            if one.status == "sandbox_error":
                return Failed(f"sandbox: {one.error}")
        verdicts = [verdict for trial, one in zip(several, ran, strict=True) for verdict in judged(trial, one)]
        if None in verdicts or not verdicts:
            return self.minimum
        return float(all(verdicts)) if self.score == "all" else verdicts.count(True) / len(verdicts)


def trials(source: str, checks: Sequence[Check]) -> Iterator[Trial]:
    """The runs that these tests of a program need: one for all calls, one for all other assertions, one per input."""
    calls: list[Lifted] = []
    accepts: list[Accepts] = []
    texts: list[str] = []
    for check in checks:
        lifted = lift(check.source) if check.kind == "asserts" else None
        if check.kind == "stdio":
            yield Trial(Program(source, stdin=check.source), (partial(same_output, expected=check.expected),))
        elif check.kind == "call":
            calls.append(Lifted(check.source, check.expected))
            accepts.append(partial(strictly, expected=check.expected))
        elif lifted is None:
            texts.append(check.source)
        else:
            calls += lifted
            accepts += [_accepts(one) for one in lifted]
    if calls:
        yield Trial(Program(source, calls=tuple(one.call for one in calls)), tuple(accepts))
    if texts:
        yield Trial(Program(source, tests=tuple(texts)), (_is_true,) * len(texts))


def judged(trial: Trial, ran: Ran) -> list[bool | None]:
    """For each test, did it pass; None where the program was stopped, or never answered."""
    count = len(trial.accepts)
    if ran.status == "error":
        return [False] * count
    if ran.status != "ok":
        return [None] * count
    outcomes = ran.returned if trial.program.stdin is None else (Returned(ran.stdout, None),)
    if len(outcomes) != count:
        return [None] * count
    return [one.error is None and accepts(one.value) for accepts, one in zip(trial.accepts, outcomes, strict=True)]


def _accepts(lifted: Lifted) -> Accepts:
    return partial(_is, lifted.expected) if lifted.exact else partial(as_asserted, expected=lifted.expected)


def _is(expected: Any, value: Any) -> bool:
    return value is expected


def _is_true(value: Any) -> bool:
    return value is True


def _untested(tasks: Sequence[Task]) -> list[str]:
    without = [task.id for task in tasks if not task.tests]
    if not without:
        return []
    return [
        f"{len(without)} tasks have no tests, first {without[0]!r}; "
        "use data with tests (dataset.tests_column of dataset=rows), or reward=coding_form"
    ]


def _wrong(tasks: Sequence[Task]) -> list[str]:
    """Tests that no program could pass, or every one."""
    found = [
        f"task {task.id!r}: tests[{index}]: {why}"
        for task in tasks
        for index, check in enumerate(task.tests)
        if (why := _fault(check))
    ]
    more = [f"and {len(found) - SHOWN} more tests"] if len(found) > SHOWN else []
    return found[:SHOWN] + more


def _fault(check: Check) -> str | None:
    if check.kind == "stdio":
        return None if isinstance(check.expected, str) else "its expected output is no text"
    mode = "eval" if check.kind == "call" else "exec"
    try:
        compile(check.source, "<test>", mode)
        tree = ast.parse(check.source, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = "it is no expression, such as f(1, 2)" if check.kind == "call" else "it does not compile"
        return f"{what}: {error}"
    if check.kind == "call" or any(_may_fail(node) for node in ast.walk(tree)):
        return None
    return "it holds no assertion, so every program would pass"


def _may_fail(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr.startswith("assert")
    if isinstance(node, ast.Assert) and isinstance(node.test, ast.Tuple):
        return not node.test.elts  # assert (f(1) == 2, "a message") always holds
    if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant):
        return not node.test.value
    return isinstance(node, ast.Assert | ast.Raise)

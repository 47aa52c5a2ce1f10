"""Every official solution of HumanEval passes; each with one thing changed is judged as plain Python judges it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from llmft.config import build, compose
from llmft.dataset.humaneval import fenced
from llmft.reward.coding.extract import program
from llmft.types import Rollout, Task

OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}

PLAIN = """
import random, resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
resource.setrlimit(resource.RLIMIT_CPU, (4, 4))
random.seed(0)
"""  # and then the solution, and the official test with its call


def plainly(source: str, test: str) -> bool:
    """Does an interpreter of its own run the solution and its test to the end?"""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", PLAIN + source + "\n" + test], capture_output=True, timeout=20
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def rollout(task: Task, text: str) -> Rollout:
    return Rollout(task, (), (), (), (), "policy", text, "end")


@pytest.fixture(scope="module")
def humaneval(shared):
    """All tasks, and the reward for them."""
    path = shared("data/humaneval/HumanEval.jsonl.gz")
    cfg = compose(["reward=coding", "dataset=humaneval", f"dataset.path={path}"])
    splits, reward = build(cfg.dataset).load(), build(cfg.reward)
    tasks = splits.train + splits.heldout
    if faults := reward.sandbox.faults():
        pytest.skip(f"this machine cannot isolate programs: {faults[0]}")
    yield tasks, reward
    reward.close()


def test_official_solutions(humaneval):
    tasks, reward = humaneval
    assert len(tasks) == 164
    assert reward.faults(tasks) == []
    scores = reward.score([rollout(task, f"Sure!\n\n{task.traces[0].text}\n") for task in tasks])
    assert [task.id for task, score in zip(tasks, scores, strict=True) if not score.correct] == []
    assert {score.parts["tests"] for score in scores} == {1.0}


@pytest.mark.slow
def test_mutants_are_judged_as_plain_python_judges_them(humaneval):
    tasks, reward = humaneval
    choices = [(task, mutants(program(task.traces[0].text, unfenced="none", after=None) or "")) for task in tasks]
    changed = [(task, Random(task.id).choice(several)) for task, several in choices if several]
    assert len(changed) == 157  # the others have nothing of the kind
    scores = reward.score([rollout(task, fenced(source)) for task, source in changed])
    with ThreadPoolExecutor(2) as threads:
        held = list(threads.map(lambda one: plainly(one[1], one[0].tests[0].source), changed))
    assert [score.failure for score in scores if score.failure] == []
    differing = [
        one.id for (one, _), score, holds in zip(changed, scores, held, strict=True) if score.correct is not holds
    ]
    assert differing == []
    assert held.count(True) == 12  # what the official tests let pass


def mutants(source: str) -> list[str]:
    """``source`` with each of its constants and operators changed in turn, without its docstrings."""
    count = sum(1 for _ in places(ast.parse(source)))
    made = []
    for number in range(count):
        tree = ast.parse(source)
        change(*list(places(tree))[number])
        made.append(ast.unparse(tree))
    return made


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Where something can be changed: a node, its field, and which of the field's, in the order of the source."""
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in texts and isinstance(node.value, int | float | str):
            yield node, "value", None
        if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in OPERATORS:
            yield node, "op", None
        if isinstance(node, ast.Compare):
            yield from ((node, "ops", index) for index, sign in enumerate(node.ops) if type(sign) in OPERATORS)


def change(node: ast.AST, field: str, index: int | None) -> None:
    held = getattr(node, field)
    if index is not None:
        held[index] = OPERATORS[type(held[index])]()
    elif isinstance(held, ast.AST):
        setattr(node, field, OPERATORS[type(held)]())
    elif isinstance(held, bool):
        setattr(node, field, not held)
    else:
        setattr(node, field, held + "x" if isinstance(held, str) else held + 1)

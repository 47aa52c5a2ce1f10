"""Programs in responses, run in the sandbox and judged outside of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmft.config import build, compose
from llmft.reward.coding import tests as coding
from llmft.reward.failed import Failed
from llmft.types import Check, Program, Ran, Returned, Rollout, Task

ADD_ONE = "def f(x):\n    return x + 1\n"
TWO_OF_THREE = "def f(x):\n    return x + 1 if x < 3 else 0\n"
ASSERTS = tuple(Check("asserts", f"assert f({x}) == {x + 1}") for x in (1, 2, 3))
CALLS = tuple(Check("call", f"f({x})", x + 1) for x in (1, 2, 3))
WHOLE = tuple(Check("asserts", f"x = {x}\nassert f(x) == x + 1") for x in (1, 2, 3))
STDIO = tuple(Check("stdio", f"{x}\n", f"{x + 1}\n") for x in (1, 2, 3))
READS = "print(f(int(input())))"


def rollout(source: str | None, checks, text: str | None = None) -> Rollout:
    text = f"So:\n```python\n{source}\n```" if text is None else text
    return Rollout(Task("t", (), "coding", tests=tuple(checks)), (), (), (), (), "policy", text, "end")


def part(sandbox, score="share", unfenced="none", after=None):
    return coding.Tests(score=score, unfenced=unfenced, after=after, sandbox=sandbox)


def value(sandbox, source: str, checks, **how):
    (one,) = part(sandbox, **how)([rollout(source, checks)])
    return one


@pytest.mark.parametrize("checks", [ASSERTS, CALLS, WHOLE, (*ASSERTS, *CALLS, *WHOLE)])
def test_the_share_of_the_tests(sandbox, checks):
    assert value(sandbox, ADD_ONE, checks) == 1.0
    assert value(sandbox, TWO_OF_THREE, checks) == pytest.approx(2 / 3)
    assert value(sandbox, TWO_OF_THREE, checks, score="all") == 0.0
    assert value(sandbox, ADD_ONE, checks, score="all") == 1.0
    assert value(sandbox, "def f(x): return None", checks) == 0.0
    assert value(sandbox, "def f(x): raise ValueError(x)", checks) == 0.0
    assert value(sandbox, "def g(x): return x + 1", checks) == 0.0
    assert value(sandbox, "def f(x) return x + 1", checks) == 0.0
    assert value(sandbox, "", checks) == 0.0


def test_input_and_output(sandbox):
    assert value(sandbox, ADD_ONE + READS, STDIO) == 1.0
    assert value(sandbox, TWO_OF_THREE + READS, STDIO) == pytest.approx(2 / 3)
    assert value(sandbox, ADD_ONE + f"if __name__ == '__main__':\n    {READS}", STDIO) == 1.0
    assert value(sandbox, ADD_ONE + READS + "\nprint()", STDIO) == 1.0
    assert value(sandbox, ADD_ONE + READS + "\nprint('and more')", STDIO) == 0.0
    assert value(sandbox, ADD_ONE + READS + "\nraise ValueError", STDIO) == 0.0
    assert value(sandbox, "raise ValueError", STDIO) == 0.0
    lines = (Check("stdio", "3\n", "0\n1\n2\n"),)
    assert value(sandbox, "for i in range(int(input())): print(i)", lines) == 1.0
    assert value(sandbox, "print(0)", lines) == 0.0  # the first line alone


ENDS = {
    "hangs": "while True: pass",
    "hangs later": ADD_ONE.replace("return", "if x == 3:\n        while True: pass\n    return"),
    "leaves": "import os; os._exit(0)",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "is forbidden": "import os\nos.execv('/bin/true', ['/bin/true'])\n" + ADD_ONE,
    "eats memory": "x = bytearray(1 << 40)",
    "floods": "while True: print('x' * 9999)",
}


@pytest.fixture(scope="module")
def quick():
    made = build(compose(["reward=coding", "reward.sandbox.wall_s=0.4"]).reward.sandbox)
    if made.faults():
        pytest.skip("this machine cannot isolate programs")
    yield made
    made.close()


@pytest.mark.parametrize("source", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("checks", [ASSERTS, WHOLE, STDIO], ids=["calls", "texts", "stdio"])
def test_what_does_not_end_well_has_the_minimum(quick, source, checks):
    called = f"{source}\nf(3)" if checks is STDIO and "def f" in source else source
    assert value(quick, called, checks) == 0.0
    assert value(quick, ADD_ONE, ASSERTS) == 1.0


EVIL = "class A:\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\n"


@pytest.mark.parametrize("checks", [ASSERTS, CALLS, WHOLE])
@pytest.mark.parametrize(
    "source",
    [
        EVIL + "def f(x): return A()",
        EVIL.replace("A:", "A(int):") + "def f(x): return A(0)",
        "def f(x): return True",
        "def f(x): return float('nan')",
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n        for v in list(frame.f_locals.values()):\n"
        "            if type(v) is int and v == x + 1: return v\n        frame = frame.f_back",
        "import builtins\nbuiltins.AssertionError = ValueError\ndef f(x): raise AssertionError",
        "def f(x): raise SystemExit(0)",
        "def f(x): raise StopIteration",
        "abs = min = max = isinstance = sorted = lambda *a: True\ndef f(x): return None",
    ],
)
def test_cheats_gain_nothing(sandbox, source, checks):
    assert value(sandbox, source, checks) == 0.0


def test_what_is_asked_of_a_value_is_not_asked_of_the_program(sandbox):
    checks = [Check("asserts", "assert len(set(f(5))) == 5"), Check("asserts", "assert sorted(f(2)) == [0, 1]")]
    assert value(sandbox, "def f(n): return range(n)", checks) == 1.0
    assert value(sandbox, "set = list\nsorted = lambda x: [0, 1]\ndef f(n): return [1] * n", checks) == 0.0


def test_truth_as_asserted_and_strictly(sandbox):
    """``assert f(1)`` holds for what is true; a value that is expected as 1 is not True."""
    asserted = [
        Check("asserts", "assert f(0)"),
        Check("asserts", "assert not f(1)"),
        Check("asserts", "assert f(2) is None"),
    ]
    assert value(sandbox, "def f(x): return [[1], '', None][x]", asserted) == 1.0
    assert value(sandbox, "def f(x): return [0, 2, False][x]", asserted) == 0.0
    single = [Check("asserts", "assert f(1) is True"), Check("asserts", "assert f(0) is False")]
    assert value(sandbox, "def f(x): return x == 1", single) == 1.0
    assert value(sandbox, "def f(x): return x", single) == 0.0
    assert value(sandbox, "def f(x): return x == 1", [Check("asserts", "assert f(1) == 1")]) == 1.0
    assert value(sandbox, "def f(x): return x == 1", [Check("call", "f(1)", 1)]) == 0.0
    assert value(sandbox, "def f(x): return (x, x)", [Check("call", "f(1)", [1, 1])]) == 1.0
    assert (
        value(
            sandbox, "from collections import Counter as f", [Check("asserts", "assert f('aab') == {'a': 2, 'b': 1}")]
        )
        == 1.0
    )


def test_a_text_without_a_program_has_the_minimum_and_nothing_runs(sandbox):
    texts = ["No code.", "```python\ndef f(x): return x + 1", "```js\nf\n```", ADD_ONE]
    assert part(Counting(sandbox))([rollout(None, ASSERTS, text) for text in texts]) == [0.0] * 4
    assert part(sandbox, unfenced="whole")([rollout(None, ASSERTS, ADD_ONE)]) == [1.0]
    thinking = f"<think>\n```\n{ADD_ONE}```\n</think>\n```\nx = 1\n```"
    assert part(sandbox)([rollout(None, ASSERTS, thinking)]) == [0.0]
    assert part(sandbox, after="</think>")([rollout(None, ASSERTS, thinking.replace("x = 1", ADD_ONE))]) == [1.0]


class Counting:
    """Another sandbox that counts, or breaks on programs that say so."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.ran: list[Program] = []

    def run(self, programs):
        self.ran += programs
        broken = Ran("sandbox_error", error="the server died, 3 times")
        return [broken if "BREAK" in one.source else self.sandbox.run([one])[0] for one in programs]

    def faults(self):
        return ["reward.sandbox.level=L2: the kernel has no Landlock"]


def test_equal_programs_run_once(sandbox):
    counting = Counting(sandbox)
    same = [rollout(ADD_ONE, ASSERTS)] * 4
    other = [rollout(TWO_OF_THREE, ASSERTS), rollout(ADD_ONE, ASSERTS[:1])]
    assert part(counting)([*same, *other]) == [1.0] * 4 + [pytest.approx(2 / 3), 1.0]
    assert len(counting.ran) == 3


def test_a_sandbox_that_breaks_is_a_failure_with_its_reason_and_no_value(sandbox):
    rollouts = [rollout(ADD_ONE, ASSERTS), rollout(ADD_ONE + "# BREAK", ASSERTS), rollout(ADD_ONE + "# BREAK", WHOLE)]
    right, *broken = part(Counting(sandbox))(rollouts)
    assert right == 1.0
    assert [(type(one), str(one)) for one in broken] == [(Failed, "sandbox: the server died, 3 times")] * 2


def test_a_task_without_tests_is_a_failure(sandbox):
    (one,) = part(sandbox)([rollout(ADD_ONE, ())])
    assert isinstance(one, Failed)


def test_fewer_answers_than_calls_are_no_pass():
    trial = coding.Trial(Program(ADD_ONE, calls=("f(1)", "f(2)")), (lambda value: True,) * 2)
    assert coding.judged(trial, Ran("ok", (Returned(2, None),))) == [None, None]
    assert coding.judged(trial, Ran("ok", (Returned(2, None), Returned(3, "ValueError: x")))) == [True, False]
    assert coding.judged(trial, Ran("timeout", (Returned(2, None), Returned(3, None)))) == [None, None]
    assert coding.judged(trial, Ran("crash", (Returned(2, None), Returned(3, None)))) == [
        None,
        None,
    ]  # after its answers
    assert coding.judged(trial, Ran("error")) == [False, False]


@pytest.mark.filterwarnings("ignore:assertion is always true:SyntaxWarning")
def test_faults_name_the_task_and_the_field(sandbox):
    tasks = [
        Task("none", (), "coding"),
        Task("good", (), "coding", tests=(*ASSERTS, *CALLS, *WHOLE, *STDIO)),
        Task(
            "bad",
            (),
            "coding",
            tests=(
                ASSERTS[0],
                Check("asserts", "assert f(1) = 2"),
                Check("asserts", "print(f(1))"),
                Check("call", "x = f(1)", 2),
                Check("call", "", 2),
                Check("stdio", "1"),
                Check("asserts", "a\0b"),
                Check("asserts", "return 1"),
            ),
        ),
    ]
    assert part(sandbox).faults(tasks[1:2]) == []
    first, untested, *wrong = part(Counting(sandbox)).faults(tasks)
    assert first == "reward.sandbox.level=L2: the kernel has no Landlock"
    assert untested.startswith("1 tasks have no tests, first 'none'; use data with tests")
    assert [one[:50] for one in wrong] == [
        "task 'bad': tests[1]: it does not compile: invalid",
        "task 'bad': tests[2]: it holds no assertion, so ev",
        "task 'bad': tests[3]: it is no expression, such as",
        "task 'bad': tests[4]: it is no expression, such as",
        "task 'bad': tests[5]: its expected output is no text"[:50],
        "task 'bad': tests[6]: it does not compile: source ",
        "task 'bad': tests[7]: it does not compile: 'return",
    ]
    vacuous = ["assert (f(1) == 2, 'a message')", "assert True", "f(1)"]
    sound = [
        "assert f.x",
        "assert 0",
        "assert ()",
        "import unittest\nunittest.TestCase().assertEqual(f(1), 2)",
        "if f(1) != 2: raise ValueError",
    ]
    tasks = [Task(text, (), "coding", tests=(Check("asserts", text),)) for text in vacuous + sound]
    assert [one.split(": ")[0] for one in part(sandbox).faults(tasks)] == [f"task {text!r}" for text in vacuous]
    many = [Task(str(n), (), "coding", tests=(Check("call", "", 1),)) for n in range(25)]
    assert len(part(sandbox).faults(many)) == 21
    assert part(sandbox).faults(many)[-1] == "and 5 more tests"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=25)
@given(values, values)
def test_the_verdict_is_python_s_own(sandbox, given_value, expected):
    """However an assertion is written, it holds where Python says so."""
    source = f"def f(x):\n    return {given_value!r}"
    checks = [Check("asserts", f"assert f(1) == {expected!r}"), Check("asserts", f"y = f(1)\nassert y == {expected!r}")]
    held = float(given_value == expected)
    assert [value(sandbox, source, [check]) for check in checks] == [held, held]
    assert value(sandbox, source, [Check("call", "f(1)", given_value)]) == 1.0


def test_through_the_whole_reward(sandbox):
    reward = build(compose(["reward=coding"]).reward)
    try:
        good, bad, silent = reward.score(
            [rollout(ADD_ONE, ASSERTS), rollout(TWO_OF_THREE, ASSERTS), rollout(None, ASSERTS, "?")]
        )
        assert (good.value, good.correct, good.parts) == (1.0, True, {"form": 0.3, "tests": 1.0})
        assert (bad.correct, bad.parts["tests"]) == (False, pytest.approx(2 / 3))
        assert (silent.value, silent.correct, silent.parts) == (0.0, False, {"form": -0.5, "tests": 0.0})
        assert reward.facts()["sandbox"]["level"] in ("L2", "L2+", "L1")
        assert reward.faults([rollout(ADD_ONE, ASSERTS).task]) == []
    finally:
        reward.close()

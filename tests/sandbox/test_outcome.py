"""What a run is called, from how its processes ended and what they wrote; each status by hand."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.sandbox.child import END, FAILED, MEMORY, RAISED, TOO_LARGE, VALUE, frame
from llmft.sandbox.lockdown import Limits
from llmft.sandbox.outcome import End, outcome
from llmft.sandbox.plain import encode
from llmft.types import Program, Ran, Returned

LIMITS = Limits(wall_s=4, cpu_s=2, memory_mb=512, output_kb=1)
CALLS, SCRIPT, TESTS = Program("x", calls=("f(1)", "f(2)")), Program("x", stdin=""), Program("x", tests=("a", "b"))
ONE, TWO, DONE = frame(VALUE, encode(1)), frame(RAISED, b"ValueError: no"), frame(END)


def ended(result: bytes, *, cut=None, code=0, cpu_s=0.1, memory_kb=9000, stdout=b"") -> End:
    return End(cut, code, cpu_s, memory_kb, result, stdout)


def ran(program: Program, *ends: End) -> Ran:
    return outcome(program, list(ends), LIMITS, 0.5)


def test_calls():
    got = ran(CALLS, ended(b"R" + ONE + TWO + DONE, stdout=b"\xffa\n"))
    assert got == Ran("ok", (Returned(1, None), Returned(None, "ValueError: no")), "\ufffda\n", "", 0.5)


@pytest.mark.parametrize(
    ("end", "status", "returned"),
    [
        (ended(b"R" + ONE + DONE), "no_result", 1),  # an answer is missing
        (ended(b"R" + ONE + TWO), "no_result", 2),  # it left
        (ended(b"R"), "no_result", 0),
        (ended(b"R" + ONE + TWO + DONE + DONE), "no_result", 2),
        (ended(b"R" + ONE + TWO + ONE + DONE), "no_result", 2),  # an answer too many
        (ended(b"R" + frame(VALUE, b"[") + TWO + DONE), "no_result", 0),  # no plain data
        (
            ended(b"R" + frame(VALUE, b'"' + b"x" * 2000 + b'"') + TWO + DONE),
            "no_result",
            0,
        ),  # larger than a child writes
        (ended(b"Rrubbish"), "no_result", 0),
        (ended(b"R" + b"\x0c\0\0\0" + b'{"ok": true}' + ONE + TWO + DONE), "no_result", 0),
        (ended(b"R" + ONE + frame(FAILED, b"KeyError: 1")), "error", 1),
        (ended(b"R" + frame(FAILED, b"SyntaxError: x")), "error", 0),
        (ended(b"R" + ONE + frame(MEMORY)), "memory", 1),
        (ended(b"R" + ONE + frame(TOO_LARGE)), "output_limit", 1),
        (ended(b"R" + ONE, cut="timeout", code=-9), "timeout", 1),
        (ended(b"R" + ONE + TWO[:3], cut="timeout", code=-9), "timeout", 1),  # killed while it wrote
        (ended(b"R" + ONE, cut="output", code=-9), "output_limit", 1),
        (ended(b"R" + ONE, cut="threads", code=-9), "memory", 1),
        (ended(b"R" + ONE, code=-signal.SIGSYS), "violation", 1),
        (ended(b"R" + ONE, code=-signal.SIGSEGV), "crash", 1),
        (ended(b"R" + ONE, code=-signal.SIGKILL, cpu_s=1.99), "timeout", 1),
        (ended(b"R" + ONE, code=-signal.SIGKILL, memory_kb=400_000), "memory", 1),
        (ended(b"R" + ONE, code=-signal.SIGKILL), "crash", 1),  # by its own hand
        (ended(b"R" + ONE + TWO + DONE, code=-signal.SIGSEGV), "crash", 2),
        (ended(b""), "sandbox_error", 0),
        (ended(b"EOSError: no"), "sandbox_error", 0),
        (ended(b"", cut="done", code=-9), "sandbox_error", 0),
    ],
)
def test_each_status(end, status, returned):
    got = ran(CALLS, end)
    assert (got.status, len(got.returned)) == (status, returned)
    assert (got.error == "") == (status == "ok")


def test_an_integer_that_nobody_can_read_is_no_value():
    got = ran(Program("x", calls=("f()",)), ended(b"R" + frame(VALUE, encode(10**1000)) + DONE))
    assert got.returned[0].value == 10**1000
    huge = outcome(
        Program("x", calls=("f()",)),
        [ended(b"R" + frame(VALUE, encode(10**5000)) + DONE)],
        LIMITS._replace(output_kb=9),
        0,
    )
    assert huge.returned == (Returned(None, "ValueError: an integer of too many digits"),)
    repr(huge)


def test_a_script_may_leave_without_ado():
    assert ran(SCRIPT, ended(b"R" + DONE, stdout=b"1\n")).status == "ok"
    assert ran(SCRIPT, ended(b"R", stdout=b"1\n")) == Ran("ok", (), "1\n", "", 0.5)  # os._exit(0)
    assert ran(SCRIPT, ended(b"R", code=3)) == Ran("error", (), "", "exit code 3", 0.5)
    assert ran(SCRIPT, ended(b"Rx")).status == "no_result"
    assert ran(SCRIPT, ended(b"R", cut="timeout", code=-9)).status == "timeout"


TESTED = ended(b"R" + frame(VALUE, b"true") + frame(RAISED, b"AssertionError: ") + DONE)
PASSED = (Returned(True, None), Returned(None, "AssertionError: "))
KILLED = ended(b"R", cut="done", code=-9)


@pytest.mark.parametrize("program", [KILLED, ended(b"R" + DONE)], ids=["no longer needed", "noticed"])
def test_tests_of_a_program_that_served_them_count(program):
    assert ran(TESTS, TESTED, program) == Ran("ok", PASSED, "", "", 0.5)


@pytest.mark.parametrize(
    ("program", "status"),
    [
        (ended(b"R" + frame(FAILED, b"NameError: x")), "error"),
        (ended(b"R"), "no_result"),
        (ended(b"R", code=-signal.SIGSYS), "violation"),
        (ended(b"R", code=-signal.SIGSYS, cut="done"), "violation"),  # the server was about to end it
        (ended(b"R", code=-signal.SIGSEGV), "crash"),
        (ended(b"R" + frame(MEMORY)), "memory"),
        (ended(b"R", cut="timeout", code=-9), "timeout"),
        (ended(b"R", cut="output", code=-9), "output_limit"),
        (ended(b""), "sandbox_error"),
    ],
)
def test_a_program_that_left_decides_whatever_its_tests_said(program, status):
    gone = ended(b"R" + frame(VALUE, b"true") + frame(FAILED, b"Gone: closed"))
    for tests in (TESTED, gone, ended(b"R", cut="timeout", code=-9)):
        assert ran(TESTS, tests, program).status == status


def test_tests_that_do_not_end_well_count_too():
    assert ran(TESTS, ended(b"R", cut="timeout", code=-9), ended(b"R", cut="timeout", code=-9)).status == "timeout"
    assert ran(TESTS, ended(b"R", code=-signal.SIGSEGV), KILLED).status == "crash"
    assert ran(TESTS, ended(b"R" + frame(FAILED, b"Gone: nonsense")), KILLED).status == "no_result"
    assert ran(TESTS, ended(b""), KILLED).status == "sandbox_error"


CODES = st.sampled_from([0, 1, 120, -4, -6, -9, -11, -24, -31])
PIECES = st.sampled_from(
    [ONE, TWO, DONE, frame(MEMORY), frame(FAILED, b"x"), b"\0", b"E", b"R", b"\xff" * 9]
) | st.binary(max_size=9)


@given(st.lists(PIECES).map(b"".join), CODES, st.sampled_from([None, "timeout", "output", "threads", "done"]))
def test_nothing_that_a_program_writes_is_a_failure_of_the_sandbox(written, code, cut):
    """Once it is locked down; and before, nothing is anything else."""
    end = ended(b"R" + written, code=code, cut=cut)
    for program in (CALLS, SCRIPT):
        got = ran(program, end)
        assert got.status != "sandbox_error"
        assert len(got.returned) <= len(program.calls)
    assert ran(TESTS, TESTED, end).status != "sandbox_error"
    assert ran(CALLS, ended(written.lstrip(b"R"), code=code, cut=cut)).status == "sandbox_error"

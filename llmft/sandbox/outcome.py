"""What became of a program, from how its processes ended and what they wrote: a pure function.

What a child wrote may be anything, once its first byte says that it was locked down. Nothing that a program does can
look like a failure of the sandbox.
"""

from __future__ import annotations

import signal
import struct
from typing import Any, NamedTuple

from llmft.sandbox import child, plain
from llmft.sandbox.lockdown import Limits
from llmft.types import Program, Ran, Returned, Status

COUNTED = 0.75  # of the limit on computing: the kernel counts more exactly when it ends a process than afterwards


class End(NamedTuple):
    """Of one process."""

    cut: str | None  # timeout, output, threads: the server ended it; done: it was no longer needed
    code: int  # its exit code; a signal's number below zero
    cpu_s: float
    memory_kb: int  # at its largest
    result: bytes  # what it wrote about itself
    stdout: bytes


class Part(NamedTuple):
    """What one process says of itself."""

    status: Status
    returned: tuple[Returned, ...] = ()
    error: str = ""


def outcome(program: Program, ends: list[End], limits: Limits, seconds: float) -> Ran:
    """The whole run. Where there are two processes the program's decides, and where it did well its tests'."""
    parts = [_part(end, len(program.calls or program.tests) if end is ends[0] else 0, limits) for end in ends]
    broken = [part for part in parts if part.status == "sandbox_error"]
    if broken:
        said = broken[0]
    elif len(ends) == 2:
        said = _tested(*parts, served=ends[1].cut == "done" and ends[1].code == -signal.SIGKILL)
    else:
        said = _script(parts[0], ends[0]) if program.stdin is not None else parts[0]
    return Ran(said.status, said.returned, ends[-1].stdout.decode("utf-8", "replace"), said.error, seconds)


def _tested(tests: Part, program: Part, *, served: bool) -> Part:
    """``served``: the program's process was still there when the tests had ended."""
    if not served and program.status != "ok":
        return Part(program.status, tests.returned, program.error)
    if tests.error.startswith("Gone:"):
        return Part("no_result", tests.returned, "it left its tests")
    return tests


def _script(part: Part, end: End) -> Part:
    """A script need not say that it ended: it may have left without ado."""
    if part.status != "no_result" or end.cut is not None or end.result[1:]:
        return part
    return Part("ok") if end.code == 0 else Part("error", error=f"exit code {end.code}")


def _part(end: End, asked: int, limits: Limits) -> Part:
    if end.result[:1] != child.READY:
        why = end.result[1:].decode("utf-8", "replace") if end.result[:1] == child.BROKEN else ""
        return Part("sandbox_error", error=why or f"a child ended before it was locked down ({end.cut or end.code})")
    frames = _frames(end.result[1:], whole=end.cut is None and end.code == 0)
    if any(len(data) > limits.output_kb << 10 for _, data in frames or ()):
        frames = None  # no child writes such
    returned, closing = _returned(frames or [], asked)
    status, error = _ended(end, limits)
    if status is None:
        if frames is None or closing is None:
            status, error = "no_result", "it ended without an answer, or wrote something else"
        else:
            status, error = closing
    return Part(status, returned, error)


def _ended(end: End, limits: Limits) -> tuple[Status | None, str]:
    """By what the process was ended, if by anything."""
    if end.cut == "timeout":
        return "timeout", f"more than {limits.wall_s:g} s"
    if end.cut == "output":
        return "output_limit", f"more than {limits.output_kb} kB"
    if end.cut == "threads":
        return "memory", "too many threads"
    if end.code >= 0 or (end.cut == "done" and end.code == -signal.SIGKILL):
        return None, ""
    if end.code == -signal.SIGSYS:
        return "violation", "a forbidden call of the system"
    if end.code in (-signal.SIGKILL, -signal.SIGXCPU) and end.cpu_s > COUNTED * limits.cpu_s:
        return "timeout", f"more than {limits.cpu_s} s of computing"
    if end.code == -signal.SIGKILL and end.memory_kb > 512 * limits.memory_mb:
        return "memory", "killed where memory ran out"
    return "crash", f"signal {-end.code}"


def _frames(data: bytes, *, whole: bool) -> list[tuple[bytes, bytes]] | None:
    """Letters with what belongs to them; None where it is something else. A last one may be cut where the child was."""
    found, at = [], 0
    while at < len(data):
        if at + 4 > len(data):
            return found if not whole else None
        (size,) = struct.unpack_from(">I", data, at)
        if size == 0 or at + 4 + size > len(data):
            return found if not whole and size else None
        found.append((data[at + 4 : at + 5], data[at + 5 : at + 4 + size]))
        at += 4 + size
    return found


def _returned(frames: list[tuple[bytes, bytes]], asked: int) -> tuple[tuple[Returned, ...], tuple[Status, str] | None]:
    """What came of each call or test, and what the child says of the end, if it says anything sensible."""
    returned: list[Returned] = []
    for index, (letter, data) in enumerate(frames):
        text = data.decode("utf-8", "replace")
        if letter in (child.VALUE, child.RAISED) and len(returned) < asked:
            try:
                value = plain.decode(data) if letter == child.VALUE else None
            except ValueError:
                return tuple(returned), None
            returned.append(_readable(value) if letter == child.VALUE else Returned(None, text))
        elif index == len(frames) - 1 and letter in _CLOSINGS:
            status, error = _CLOSINGS[letter]
            complete = letter != child.END or len(returned) == asked
            return tuple(returned), (status, error or text) if complete else None
        else:
            return tuple(returned), None
    return tuple(returned), None


def _readable(value: Any) -> Returned:
    try:
        repr(value)
    except ValueError:  # nobody could log it, and no literal of a test is equal to it
        return Returned(None, "ValueError: an integer of too many digits")
    return Returned(value, None)


_CLOSINGS: dict[bytes, tuple[Status, str]] = {
    child.END: ("ok", ""),
    child.FAILED: ("error", ""),
    child.MEMORY: ("memory", "MemoryError"),
    child.TOO_LARGE: ("output_limit", "a value too large to return"),
}


def ends(header: dict[str, Any], data: bytes) -> list[End]:
    """From what a server sends."""
    found, at = [], 0
    for cut, code, cpu_s, memory_kb, result, stdout in header["children"]:
        middle = at + result
        found.append(End(cut, code, cpu_s, memory_kb, data[at:middle], data[middle : middle + stdout]))
        at = middle + stdout
    return found

"""What runs in a child after it is locked down: a program, and then plain data about it, frame by frame.

A frame is four bytes of length and a letter with what belongs to it, written as soon as it is known, so that what came
before a hang is known too. The program could write frames itself: it gains nothing, for a frame says no more than what
its functions return.
"""

from __future__ import annotations

import atexit
import gc
import os
import random
import socket
import struct
import sys
import threading
import types
from collections.abc import Sequence
from typing import Any, NoReturn

from llmft.sandbox import boundary, plain, proxies

RESULTS, CHANNEL = 3, 4  # file descriptors
READY, BROKEN = b"R", b"E"  # the first byte: locked down, or why not
VALUE, RAISED, FAILED, MEMORY, TOO_LARGE, END = b"V", b"X", b"E", b"M", b"L", b"."
HERE = b"!"  # the program's process tells its tests that it is locked down too
LONGEST = 500  # characters of an exception's text


def frame(letter: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", 1 + len(data)) + letter + data


OUT_OF_MEMORY = frame(MEMORY)  # made while there is some


def perform(kind: str, source: str, texts: Sequence[str], limit: int) -> NoReturn:
    """Run ``source`` and what is asked of it; ``kind`` is calls, script, candidate or tests."""
    try:
        os.write(RESULTS, READY)
        gc.enable()
        random.seed(0)  # the same program gives the same
        _WAYS[kind](source, texts, limit)
    except MemoryError:
        os.write(RESULTS, OUT_OF_MEMORY)
    except BaseException as error:
        _tell(FAILED, told(error))
    finally:
        os._exit(0)


def _tell(letter: bytes, data: bytes = b"") -> None:
    rest = frame(letter, data)
    while rest:
        rest = rest[os.write(RESULTS, rest) :]


def told(error: BaseException) -> bytes:
    """``ValueError: what it says``."""
    try:
        text = f"{type(error).__name__}: {error}"
    except MemoryError:
        raise
    except BaseException:  # its own method raised
        text = "an exception without a text"
    return text[:LONGEST].encode("utf-8", "replace")


def _module(name: str) -> dict[str, Any]:
    """The namespace of a module of this name, where a program finds itself."""
    module = types.ModuleType(name)
    sys.modules["__main__"] = sys.modules[name] = module
    return module.__dict__


def _run(source: str, name: str) -> dict[str, Any]:
    code = compile(source, "<program>", "exec", dont_inherit=True)
    namespace = _module(name)
    exec(code, namespace)
    return namespace


def _calls(source: str, calls: Sequence[str], limit: int) -> None:
    namespace = _run(source, "program")
    for call in calls:
        try:
            value = eval(compile(call, "<call>", "eval", dont_inherit=True), namespace)
            data = plain.encode(value, limit=limit)
        except MemoryError:
            raise
        except plain.TooLarge:
            return _tell(TOO_LARGE)
        except BaseException as error:
            _tell(RAISED, told(error))
        else:
            _tell(VALUE, data)
    _tell(END)


def _script(source: str, _: Sequence[str], limit: int) -> None:
    """As Python runs a script: to the end of its threads, with what it wanted done at its exit."""
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    ended: BaseException | None = None
    try:
        _run(source, "__main__")
    except SystemExit as error:
        ended = error if error.code not in (None, 0) else None
    except Exception as error:
        ended = error
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    if ended is not None:
        raise ended
    _tell(END)


def _candidate(source: str, _: Sequence[str], limit: int) -> None:
    channel = socket.socket(fileno=CHANNEL)
    channel.sendall(HERE)
    boundary.serve(_run(source, "program"), channel)
    _tell(END)


def _tests(_: str, tests: Sequence[str], limit: int) -> None:
    def answer(passed: bool, error: str | None) -> None:
        _tell(VALUE, b"true") if passed else _tell(RAISED, str(error)[:LONGEST].encode("utf-8", "replace"))

    channel = socket.socket(fileno=CHANNEL)
    if channel.recv(len(HERE)) == HERE:  # the program's process is a fork of the same, and finds nothing of these there
        proxies.run_tests(tests, channel, answer)
        _tell(END)


_WAYS = {"calls": _calls, "script": _script, "candidate": _candidate, "tests": _tests}

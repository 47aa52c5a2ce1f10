"""math-verify, in processes of its own.

A model's answer can keep a computer algebra system busy for ever (``9^{9^{9^9}}``), fill the memory or overflow the
stack, and math-verify's own time limit is a signal, which only a main thread may use. So comparisons are done by
`llmft.reward.workers`: one that hangs or crashes takes no other with it.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from llmft.reward.failed import Failed
from llmft.reward.workers import Reply, Workers

MEMORY_BYTES = 4 << 30  # an answer that needs more is not an answer
STACK = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT}  # how a process ends that ran out of stack or memory

Answer = Literal["equal", "differs", "unreadable", "hang", "crash"]


class Question(NamedTuple):
    answer: str
    said: str
    whole: bool = False  # what was said is a text, in which math-verify looks for the answer; else it is the answer


class Verifier:
    """Is what was said equal to the answer? Usable from any thread, after a fork, and after pickling.

    ``timeout_s`` is the time that one comparison may take before it is given up as a hang, ``processes`` how many are
    done at a time: None for as many as there are cores.
    """

    def __init__(self, timeout_s: float, processes: int | None) -> None:
        self.timeout_s = timeout_s
        self.workers = Workers(prepared, processes=processes, quiet=True)

    def compare(self, questions: Sequence[Question]) -> list[Answer | Failed]:
        """``unreadable`` is the answer's fault, ``hang``, ``crash`` and ``differs`` are said's.

        Failed stands where the machinery broke: no process starts, or each was killed from outside.
        """
        return [_answer(reply) for reply in self.workers.map([tuple(one) for one in questions], self.timeout_s)]

    def close(self) -> None:
        """End the processes; they start again when asked."""
        self.workers.close()


def _answer(reply: Reply) -> Answer | Failed:
    if reply.state == "done":
        return reply.value
    if reply.state == "hung":
        return "hang"
    return "crash" if reply.code in STACK else Failed(f"math-verify: {reply.value}")


def prepared() -> Any:
    """In a worker: what compares. Imports, and does sympy's first parse, which takes a second."""
    logging.disable(logging.CRITICAL)
    _limit_memory()
    compare("1/2", "0.5", False)
    return lambda question: compare(*question)


def compare(answer: str, said: str, whole: bool) -> Answer:
    """Compare with math-verify, without a time limit. Whatever ``said`` makes it raise is said's doing."""
    from math_verify import verify

    try:
        expected = _parsed(answer)
    except Exception:
        return "unreadable"
    if all(isinstance(reading, str) for reading in expected):  # it gives back the text where it understood nothing
        return "unreadable"
    try:
        return "equal" if verify(expected, _parsed(said, whole), timeout_seconds=None) else "differs"
    except Exception:
        return "differs"


def _parsed(text: str, whole: bool = False) -> list[Any]:
    from math_verify import parse

    marked = text if whole or "$" in text or "\\boxed" in text else f"${text}$"
    return parse(marked, parsing_timeout=None)  # type: ignore[arg-type]


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # not a POSIX system, or a tighter limit: the time limit remains
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

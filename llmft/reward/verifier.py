"""math-verify in a process of its own, asked over a pipe.

A model's answer can keep a computer algebra system busy for ever (``9^{9^{9^9}}``), and math-verify's own time limit is
a signal, which only a main thread may use. A process can be killed from anywhere. This module is both of its ends:
`Verifier` asks, ``python -m llmft.reward.verifier`` answers, one JSON value per line.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from typing import Any, Literal

MEMORY_BYTES = 4 << 30  # an answer that needs more is not an answer
STARTUP_S = 120.0  # to import sympy on a busy machine

Answer = Literal["equal", "differs", "unreadable", "hang"]


class Verifier:
    """Is what was said equal to the answer? Usable from any thread, after a fork, and after pickling.

    ``timeout_s`` is the time that one comparison may take before it is given up as a hang.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._forget()

    def compare(self, answer: str, said: str, *, whole: bool = False) -> Answer:
        """``unreadable`` is the answer's fault, ``hang`` and ``differs`` are said's.

        ``whole``: what was said is a text, in which math-verify looks for the answer; otherwise it is the answer.

        Raises RuntimeError if the process died on it, twice.
        """
        if self._owner != os.getpid():  # forked: the process on the pipe is the parent's
            self._forget()
        with self._lock:
            try:
                return self._ask([answer, said, whole])
            except _DiedError:  # perhaps of what it was asked before, or killed from outside
                pass
            try:
                return self._ask([answer, said, whole])
            except _DiedError as error:
                raise RuntimeError(f"the process of math-verify died ({error})") from None

    def close(self) -> None:
        """End the process; it starts again when asked."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _ask(self, question: list[Any]) -> Answer:
        process = self._running()
        reply, late = self._talk(process, question, self.timeout_s)
        if reply is not None:
            return reply
        code = process.wait()
        self.close()
        if late:
            return "hang"
        raise _DiedError(f"exit code {code}")

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = [sys.executable, "-m", "llmft.reward.verifier"]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is for us: the step that is being finished may still ask
            )
            ready, _ = self._talk(self._process, None, STARTUP_S)
            if ready is None:
                code = self._process.wait()
                self.close()
                raise _DiedError(f"it did not start, exit code {code}; is math-verify installed?")
        return self._process

    @staticmethod
    def _talk(process: subprocess.Popen[str], question: Any, timeout_s: float) -> tuple[Any, bool]:
        """The reply to a question (None: wait for the greeting), and whether the process was killed for being late."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        assert process.stdin is not None
        assert process.stdout is not None
        clock = threading.Timer(timeout_s, give_up)
        clock.start()
        try:
            if question is not None:
                process.stdin.write(json.dumps(question) + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except OSError:  # the pipe is broken: it died
            line = ""
        finally:
            clock.cancel()
        return (json.loads(line) if line.endswith("\n") else None), late.is_set()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._process: subprocess.Popen[str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"timeout_s": self.timeout_s}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __del__(self) -> None:
        self.close()


class _DiedError(Exception):
    pass


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
    try:
        import resource
    except ImportError:  # not a POSIX system: the time limit remains
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def serve() -> None:
    """Answer questions from standard input until it closes."""
    logging.disable(logging.CRITICAL)
    pipe, sys.stdout = sys.stdout, sys.stderr  # nothing that a library prints may pass for a reply
    _limit_memory()
    compare("1/2", "0.5", False)  # imports, and sympy's first parse
    print(json.dumps("ready"), file=pipe, flush=True)
    for line in sys.stdin:
        print(json.dumps(compare(*json.loads(line))), file=pipe, flush=True)


if __name__ == "__main__":
    serve()

"""A client's end of one server: a process, a socket, and what is under way on it."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from llmft.sandbox.lockdown import Limits
from llmft.sandbox.outcome import ends, outcome
from llmft.sandbox.wire import HEADER, frame, receive
from llmft.types import Program, Ran

SERVER = Path(__file__).with_name("server.py")
PIECE = 1 << 18  # bytes
AHEAD = 2  # programs that a server has at once, so that it never waits for the client
PATIENCE_S = 30.0  # beyond what a program may take: then the server itself hangs


class Broken(Exception):
    """The server died, hangs or speaks nonsense."""


class Connection:
    """Starts a server. Raises Broken with the reason where it cannot work."""

    def __init__(self, level: str, limits: Limits) -> None:
        self.limits = limits
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = _start(theirs, level, limits)
        self.waiting: deque[tuple[int, Program]] = deque()  # given to the server, in order
        self._out, self._in = bytearray(), bytearray()
        self._since = 0.0  # when the server can have begun with the first of them
        self.facts = self._greeting()
        self.socket.setblocking(False)

    def _greeting(self) -> dict[str, Any]:
        """What it says of itself when it is ready."""
        try:
            self.socket.settimeout(PATIENCE_S)
            facts = json.loads(receive(self.socket) or b"{}")
        except (OSError, ValueError) as error:
            raise Broken(self._last_words(str(error))) from None
        if "landlock" not in facts:
            raise Broken(self._last_words(facts.get("fault", "it ended at its start")))
        return facts

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def has_room(self) -> bool:
        return len(self.waiting) < AHEAD

    @property
    def sending(self) -> bool:
        return bool(self._out)

    def give(self, index: int, program: Program) -> None:
        """Have it run ``program``, after those that it has."""
        if not self.waiting:
            self._since = time.monotonic()
        self.waiting.append((index, program))
        self._out += _request(program)

    def send(self) -> None:
        """Some of what is to be sent. Raises Broken."""
        try:
            del self._out[: self.socket.send(memoryview(self._out)[:PIECE].tobytes())]
        except BlockingIOError:
            pass
        except OSError as error:
            raise Broken(str(error)) from None

    def receive(self) -> list[tuple[int, Ran]]:
        """What has come back whole. Raises Broken."""
        try:
            piece = self.socket.recv(PIECE)
        except BlockingIOError:
            return []
        except OSError as error:
            raise Broken(str(error)) from None
        if not piece:
            raise Broken(self._last_words("it ended"))
        self._in += piece
        done = []
        while (one := self._next()) is not None:
            done.append(one)
        return done

    def _next(self) -> tuple[int, Ran] | None:
        if len(self._in) < HEADER.size:
            return None
        start = HEADER.size + HEADER.unpack_from(self._in)[0]
        if len(self._in) < start:
            return None
        header = json.loads(self._in[HEADER.size : start])
        size = start + sum(result + stdout for *_, result, stdout in header["children"])
        if len(self._in) < size:
            return None
        if not self.waiting:
            raise Broken("an answer to no question")
        data = bytes(self._in[start:size])
        del self._in[:size]
        index, program = self.waiting.popleft()
        self._since = time.monotonic()
        return index, outcome(program, ends(header, data), self.limits, header["seconds"])

    def ask(self, program: Program) -> Ran:
        """What became of this one. Raises Broken."""
        self.give(0, program)
        while True:
            ready, _, _ = select.select([self], [self] if self.sending else [], [], max(0.0, self.patience_s))
            if self.sending:
                self.send()
            if done := self.receive():
                return done[0][1]
            if not ready and self.patience_s < 0:
                raise Broken("a server hangs")

    @property
    def patience_s(self) -> float:
        """How long its next answer may still take; infinite where none is due."""
        if not self.waiting:
            return float("inf")
        return self._since + self.limits.wall_s + PATIENCE_S - time.monotonic()

    def _last_words(self, reason: str) -> str:
        """Why it ended, if it said so."""
        assert self.process.stderr is not None
        self._kill()
        words = self.process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return words[-1][:500] if words else reason

    def _kill(self) -> None:
        self.socket.close()
        self.process.kill()  # and the kernel its children
        self.process.wait()

    def close(self) -> None:
        """End it, and all its children."""
        self._kill()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def forget(self) -> None:
        """After a fork, in the child: it is the parent's."""
        self.socket.close()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self.process.returncode = 0  # not this process's child: nothing to wait for


def _start(theirs: socket.socket, level: str, limits: Limits) -> subprocess.Popen[bytes]:
    """A server, which gets nothing of the trainer's: no environment, modules or files. Raises Broken."""
    options = ["-s", "-S", "-P", "-B", "-X", "utf8"]
    try:
        return subprocess.Popen(
            [sys.executable, *options, str(SERVER), str(theirs.fileno()), level, json.dumps(limits)],
            env={"PYTHONHASHSEED": "0"},  # sets of texts have the same order in every server
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # a Ctrl-C is the trainer's
            cwd="/",
        )
    except OSError as error:
        raise Broken(f"no process: {error}") from None


def _request(program: Program) -> bytes:
    if program.tests:
        tests = ["tests", "", program.tests, None]
        candidate = ["candidate", program.source, [], None]
        return b"2" + _framed(tests) + _framed(candidate)
    kind = "calls" if program.stdin is None else "script"
    return b"1" + _framed([kind, program.source, program.calls, program.stdin])


def _framed(request: list[Any]) -> bytes:
    return frame(json.dumps(request).encode())
